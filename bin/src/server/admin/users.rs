//! Methods about the users of this node, in its file of users. The running server reads a change
//! within a second, as it reads those that `isogrid user` makes in the file: who changes his own
//! user hears the answer.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Fault, Invocation, blocking};
use crate::security::change::{Change, Secret};
use crate::security::role::Role;
use crate::security::users::documents;
use crate::security::users_file::{self, UsersFileError};
use crate::security::{Source, hex};

/// Every user, what he logs in with and what he may do.
///
/// # Errors
/// There is no file of users, or it cannot be read.
pub async fn list(call: Invocation) -> Result<Value, Fault> {
    let path = path(&call)?;
    blocking(move || users_file::read(&path).map(|users| documents(&users)).map_err(fault)).await
}

/// Adds a user.
///
/// # Errors
/// What is said makes no user, or there is one of that name.
pub async fn add(call: Invocation) -> Result<Value, Fault> {
    let change = Change::Add(roles(&call)?, secret(&call)?);
    make(call, "user_added", change).await
}

/// Changes what a user logs in with.
///
/// # Errors
/// There is no such user, or no secret in the request.
pub async fn passwd(call: Invocation) -> Result<Value, Fault> {
    let secret = secret(&call)?.ok_or_else(|| {
        Fault::Invalid("`verifier` or `token_sha256` is to be there: the new one".to_owned())
    })?;
    make(call, "user_secret_changed", Change::Secret(secret)).await
}

/// Changes what a user may do.
///
/// # Errors
/// There is no such user, or a role is none.
pub async fn role(call: Invocation) -> Result<Value, Fault> {
    let change = Change::Roles(roles(&call)?);
    make(call, "user_roles_changed", change).await
}

/// Removes a user.
///
/// # Errors
/// There is none of that name.
pub async fn remove(call: Invocation) -> Result<Value, Fault> {
    make(call, "user_removed", Change::Remove).await
}

async fn make(call: Invocation, event: &'static str, change: Change) -> Result<Value, Fault> {
    let path = path(&call)?;
    let name = call.text("name").unwrap_or_default().to_owned();
    blocking(move || {
        users_file::edit(&path, |users| change.apply(&name, users)).map_err(fault)?;
        tracing::info!(event, user = name, "asked by an operator");
        Ok(json!({ "user": name, "file": path.display().to_string() }))
    })
    .await
}

/// The file of users.
fn path(call: &Invocation) -> Result<PathBuf, Fault> {
    match call.node.security.source() {
        Some(Source::Users(path)) => Ok(path.clone()),
        Some(Source::Passwords(path)) => Err(Fault::Invalid(format!(
            "the users of this server are in {}, which only its owner changes",
            path.display()
        ))),
        None => Err(Fault::Invalid(
            "this server has no users: it needs a data directory or auth.users, and auth.mode = \
             auto or on"
                .to_owned(),
        )),
    }
}

fn roles(call: &Invocation) -> Result<Arc<[Role]>, Fault> {
    let words = call.text("roles").unwrap_or_default().split_whitespace();
    let roles: Arc<[Role]> =
        words.map(Role::parse).collect::<Result<_, _>>().map_err(Fault::Invalid)?;
    if roles.is_empty() {
        return Err(Fault::Invalid("`roles` has none: who may do nothing is a slip".to_owned()));
    }
    Ok(roles)
}

fn secret(call: &Invocation) -> Result<Option<Secret>, Fault> {
    match (call.text("verifier"), call.text("token_sha256")) {
        (None, None) => Ok(None),
        (Some(verifier), None) => verifier
            .parse()
            .map(Secret::Password)
            .map(Some)
            .map_err(|why: &str| Fault::Invalid(format!("`verifier` is {why}"))),
        (None, Some(hash)) => {
            let hash = hex::parse(hash).map(Secret::Token).map(Some);
            hash.ok_or_else(|| Fault::Invalid("`token_sha256` is not 64 hex digits".to_owned()))
        }
        (Some(_), Some(_)) => {
            Err(Fault::Invalid("either `verifier` or `token_sha256`, not both".to_owned()))
        }
    }
}

fn fault(error: UsersFileError) -> Fault {
    match error {
        UsersFileError::Content { why, .. } => Fault::Invalid(why),
        UsersFileError::Busy { .. } => Fault::Unavailable(error.to_string()),
        UsersFileError::Io { .. } => Fault::Failed(error.to_string()),
    }
}
