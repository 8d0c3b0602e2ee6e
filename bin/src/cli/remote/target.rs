//! A server, and how to reach it: what a context remembers, and what flags say.

use std::io::ErrorKind;

use clap::Args;
use isogrid_wire::client::{Options, TlsOptions};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::cli::secret;

/// A server, and how to log in there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(next_help_heading = "Login and TLS")]
pub struct Target {
    /// `host:port`; a flag of its own.
    #[arg(skip)]
    pub server: String,
    /// Log in with a password as this user [env: ISOGRID_USER]
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "token_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file with the password; without it, it is asked for [env: ISOGRID_PASSWORD, the password itself]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// A file with the token to log in with [env: ISOGRID_TOKEN, the token itself]
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Connect over TLS; so do the three below
    #[arg(long, global = true)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// PEM: trust servers whose certificate these authorities have signed [default: those of this system]
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<String>,
    /// PEM: show this certificate, which may be the login
    #[arg(long, global = true, value_name = "FILE", requires = "key_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// PEM: the key of the certificate
    // Commands have another `key`.
    #[arg(long = "key", id = "key_file", global = true, value_name = "FILE", requires = "cert")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A variable of the environment that says something.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

impl Target {
    /// The same server, with what `said` says of it.
    pub fn with(self, said: &Target) -> Target {
        let login = said.user.is_some() || said.token_file.is_some();
        let (user, token_file, password_file) = if login {
            (said.user.clone(), said.token_file.clone(), None)
        } else {
            (self.user, self.token_file, self.password_file)
        };
        Target {
            server: self.server,
            user,
            token_file,
            password_file: said.password_file.clone().or(password_file),
            tls: self.tls || said.tls,
            cacert: said.cacert.clone().or(self.cacert),
            cert: said.cert.clone().or(self.cert),
            key: said.key.clone().or(self.key),
        }
    }

    /// The same with files that are found from every folder.
    ///
    /// # Errors
    /// There is no folder to begin at.
    pub fn absolute(mut self) -> std::io::Result<Target> {
        let files = [
            &mut self.password_file,
            &mut self.token_file,
            &mut self.cacert,
            &mut self.cert,
            &mut self.key,
        ];
        for file in files.into_iter().flatten() {
            *file = std::path::absolute(&*file)?.to_string_lossy().into_owned();
        }
        Ok(self)
    }

    /// Adds login and TLS to the options of a client.
    ///
    /// # Errors
    /// A secret cannot be read.
    pub fn options(&self, options: Options) -> Result<Options, Failure> {
        let options = self.secured(options);
        if let Some(file) = &self.token_file {
            return Ok(options.token(&read(file)?));
        }
        let said = self.user.clone();
        match (said, env("ISOGRID_TOKEN"), env("ISOGRID_USER")) {
            (Some(user), ..) | (None, None, Some(user)) => {
                Ok(options.password(&user, &self.password(&user)?))
            }
            (None, Some(token), _) => Ok(options.token(&token)),
            (None, None, None) => Ok(options),
        }
    }

    /// Adds TLS, and the login that flags ask for, for a protocol that knows passwords alone.
    ///
    /// # Errors
    /// A secret cannot be read.
    pub fn plain_options(&self, options: Options) -> Result<Options, Failure> {
        let options = self.secured(options);
        match &self.user {
            Some(user) => Ok(options.plain_password(user, &self.password(user)?)),
            None => Ok(options),
        }
    }

    /// Adds TLS alone.
    fn secured(&self, options: Options) -> Options {
        if self.is_secure() { options.tls(self.tls_options()) } else { options }
    }

    fn password(&self, user: &str) -> Result<String, Failure> {
        if let Some(file) = &self.password_file {
            return read(file);
        }
        if let Some(password) = env("ISOGRID_PASSWORD") {
            return Ok(password);
        }
        secret::ask(&format!("password of {user}")).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => Failure::usage(error.to_string()),
            _ => Failure::usage(format!("there is no password for {user}, and no terminal to ask"))
                .help("say --password-file FILE, or set ISOGRID_PASSWORD"),
        })
    }

    /// Whether somebody would have to type a password.
    pub fn has_to_ask(&self) -> bool {
        let by_password =
            self.user.is_some() || env("ISOGRID_TOKEN").is_none() && env("ISOGRID_USER").is_some();
        let is_known = self.password_file.is_some() || env("ISOGRID_PASSWORD").is_some();
        self.token_file.is_none() && by_password && !is_known
    }

    fn is_secure(&self) -> bool {
        self.tls || self.cacert.is_some() || self.cert.is_some()
    }

    fn tls_options(&self) -> TlsOptions {
        let tls = TlsOptions::default();
        let tls = match &self.cacert {
            Some(file) => tls.authorities(file),
            None => tls,
        };
        match (&self.cert, &self.key) {
            (Some(chain), Some(key)) => tls.certificate(chain, key),
            _ => tls,
        }
    }

    /// Who logs in how, for a list.
    pub fn login(&self) -> String {
        let file = |file: &String| format!("token in {file}");
        let certificate = || self.cert.clone();
        self.token_file
            .as_ref()
            .map(file)
            .or(self.user.clone())
            .or_else(certificate)
            .unwrap_or_default()
    }

    /// Whether the connection is secured, for a list.
    pub fn security(&self) -> String {
        if self.is_secure() { "tls".to_owned() } else { String::new() }
    }
}

fn read(file: &str) -> Result<String, Failure> {
    let said = secret::of_file(file);
    let secret = said.map_err(|error| Failure::general(format!("cannot read {file}: {error}")))?;
    Ok(secret.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        toml::from_str(&format!("server = 'a:1'\n{}", text.replace(' ', "\n"))).unwrap()
    }

    #[test]
    fn what_is_said_counts_before_what_is_noted() {
        for (noted, said, is) in [
            ("user='a' password_file='p'", "", "user='a' password_file='p'"),
            ("user='a' password_file='p'", "user='b'", "user='b'"),
            ("user='a' password_file='p'", "password_file='q'", "user='a' password_file='q'"),
            ("user='a' password_file='p'", "token_file='t'", "token_file='t'"),
            ("token_file='t'", "user='a'", "user='a'"),
            ("tls=true cacert='c'", "cert='x' key='y'", "tls=true cacert='c' cert='x' key='y'"),
            ("cacert='c'", "tls=true cacert='d'", "tls=true cacert='d'"),
        ] {
            let with = target(noted).with(&target(said));
            assert_eq!(with, target(is), "{noted} with {said}");
        }
    }
}
