//! The file of users: read whole, and written anew in one step.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::random;
use super::users::Users;

/// A longer file is not read.
const LEN_MAX: u64 = 4 << 20;

/// Why the file of users cannot be used.
#[derive(Debug, Error)]
pub enum UsersFileError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It does not say what it should.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Somebody else is changing it.
    #[error("{} is there: another change is under way; remove it if there is none", path.display())]
    Busy {
        /// The file that says so.
        path: PathBuf,
    },
}

impl UsersFileError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> UsersFileError {
        move |source| UsersFileError::Io { path: path.to_owned(), source }
    }
}

/// The users of the file; none when there is no file.
///
/// # Errors
/// When it cannot be read, or has something wrong in it.
pub fn read(path: &Path) -> Result<Users, UsersFileError> {
    match read_file(path) {
        Ok(text) => {
            let content = |why| UsersFileError::Content { path: path.to_owned(), why };
            let text = String::from_utf8(text).map_err(|_| content("not UTF-8".to_owned()))?;
            Users::parse(&text).map_err(content)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Users::default()),
        Err(error) => Err(UsersFileError::io(path)(error)),
    }
}

/// A file that is not too long to be one of users or passwords.
///
/// # Errors
/// When it cannot be read, or is too long.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 4 MiB"));
    }
    std::fs::read(path)
}

/// Changes the file: who reads it sees the users before or after, never half of them, and two
/// changes at once do not undo each other.
///
/// # Errors
/// When the file cannot be read or written, or `change` says so; then it is as it was.
pub fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut Users) -> Result<T, String>,
) -> Result<T, UsersFileError> {
    let mut new = OsString::from(path);
    new.push(".new");
    let new = PathBuf::from(new);
    let folder = path.parent().unwrap_or(Path::new(""));
    create_private_folder(folder).map_err(UsersFileError::io(folder))?;
    // The new file is the lock: it is there for as long as the change takes.
    let file = create_private(&new).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => UsersFileError::Busy { path: new.clone() },
        _ => UsersFileError::Io { path: new.clone(), source },
    })?;
    let changed = read(path).and_then(|mut users| {
        let content = |why| UsersFileError::Content { path: path.to_owned(), why };
        users.decoy.get_or_insert_with(random::bytes);
        let outcome = change(&mut users).map_err(content)?;
        replace(file, &new, path, &users).map_err(UsersFileError::io(path))?;
        Ok(outcome)
    });
    changed.inspect_err(|_| drop(std::fs::remove_file(&new)))
}

fn replace(mut file: std::fs::File, new: &Path, path: &Path, users: &Users) -> io::Result<()> {
    file.write_all(users.show().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// A new file that nobody else may read.
///
/// # Errors
/// When it cannot be made; when it is there already.
pub fn create_private(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A folder that nobody else may read, if it is not there yet.
///
/// # Errors
/// When it cannot be made.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::security::users::User;

    fn add(name: &'static str) -> impl FnOnce(&mut Users) -> Result<(), String> {
        move |users| {
            let user = User { verifier: None, token: None, roles: [].into() };
            users.by_name.insert(name.to_owned(), user);
            Ok(())
        }
    }

    #[test]
    fn a_change_is_whole_or_not_there() {
        let folder = std::env::temp_dir().join(format!("isogrid-users-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("users.toml");
        assert_eq!(read(&path).unwrap(), Users::default());
        edit(&path, add("a")).unwrap();
        let first = read(&path).unwrap();
        assert!(first.decoy.is_some());
        edit(&path, add("b")).unwrap();
        let second = read(&path).unwrap();
        assert_eq!(second.decoy, first.decoy, "names that nobody has are answered as before");
        assert_eq!(second.by_name.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(edit(&path, |_| Err::<(), _>("no".to_owned())).is_err());
        assert_eq!(read(&path).unwrap(), second);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(folder.join("users.toml.new"), "").unwrap();
        assert!(matches!(edit(&path, add("c")), Err(UsersFileError::Busy { .. })));
        assert!(folder.join("users.toml.new").exists(), "the other's change goes on");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
