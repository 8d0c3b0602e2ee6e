//! The first user of a server that wants logins and has nobody who could.

use std::io::{self, Write};
use std::path::Path;

use isogrid_wire::scram::Verifier;

use super::random;
use super::role::Role;
use super::users::User;
use super::users_file::{self, UsersFileError};

/// The name of the first user.
pub const NAME: &str = "admin";

/// The file beside the file of users that the password is left in.
pub const PASSWORD_FILE: &str = "admin-password";

/// Makes the user `admin` with a random password, which is left in a file that only its owner
/// reads; nothing else says it.
///
/// # Errors
/// When a file cannot be written.
pub fn create(users: &Path) -> Result<(), UsersFileError> {
    let path = users.with_file_name(PASSWORD_FILE);
    let password = random::secret();
    let io = |source| UsersFileError::Io { path: path.clone(), source };
    // The password first: a user whose password nobody has would be there for good.
    let folder = path.parent().map_or(Ok(()), users_file::create_private_folder);
    folder.and_then(|()| leave(&path, &password)).map_err(io)?;
    users_file::edit(users, |all| {
        let roles = [Role::parse("all@*")?].into();
        let verifier = Some(Verifier::derive(password.as_bytes(), &random::bytes()));
        all.by_name.insert(NAME.to_owned(), User { verifier, token: None, roles });
        Ok(())
    })?;
    let path = path.display();
    tracing::warn!(
        event = "first_user",
        user = NAME,
        %path,
        "there was no user; the password is in the file: keep it elsewhere and remove the file"
    );
    Ok(())
}

fn leave(path: &Path, password: &str) -> io::Result<()> {
    // One that an earlier start left is worth nothing any more.
    let _ = std::fs::remove_file(path);
    let mut file = users_file::create_private(path)?;
    writeln!(file, "{password}")?;
    file.sync_all()
}
