//! A folder with a file of users, written by `isogrid user`; gone when dropped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Client, isogrid, temporary};

/// The folder.
pub struct Users(PathBuf);

impl Users {
    /// A folder without users.
    pub fn new() -> Users {
        let folder = temporary("users");
        std::fs::create_dir_all(&folder).unwrap();
        Users(folder)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }

    /// The file of users.
    pub fn file(&self) -> String {
        self.path("users.toml")
    }

    /// `isogrid user` with these words, and this on its standard input.
    pub fn user(&self, words: &[&str], input: &str) -> Output {
        let mut command = Command::new(isogrid());
        command.args(["user", "--config", "/dev/null", "--users", &self.file()]).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that wants no password may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Adds a user.
    pub fn add(&self, name: &str, password: &str, roles: &[&str]) {
        let mut words = vec!["add", name];
        roles.iter().for_each(|role| words.extend(["--role", role]));
        let output = self.user(&words, &format!("{password}\n"));
        assert!(output.status.success(), "{output:?}");
    }

    /// Adds a user who logs in with a token; the token.
    pub fn token(&self, name: &str, roles: &[&str]) -> String {
        let mut words = vec!["add", name, "--token"];
        roles.iter().for_each(|role| words.extend(["--role", role]));
        let output = self.user(&words, "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Default for Users {
    fn default() -> Self {
        Users::new()
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Client {
    /// Logs in as memcached's auth file has it, and says what the server answered.
    pub fn log_in(&mut self, user: &str, password: &str) -> String {
        let token = format!("{user} {password}");
        self.send(format!("set x 0 0 {}\r\n{token}\r\n", token.len()));
        self.line()
    }
}
