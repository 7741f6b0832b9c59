//! Links to sockets in a directory where the command line looks for agents.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use ekka_core::id::NodeName;

/// The link of one agent; it goes when this is dropped.
#[derive(Debug)]
pub struct RuntimeLink {
    link: PathBuf,
    socket: PathBuf,
}

impl RuntimeLink {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.link
    }
}

impl Drop for RuntimeLink {
    fn drop(&mut self) {
        // Another agent of the same name may have put its own there.
        if std::fs::read_link(&self.link).is_ok_and(|target| target == self.socket) {
            let _ = std::fs::remove_file(&self.link); // dead links are passed over
        }
    }
}

/// Where agents of this host leave their links, the user's own directory first.
///
/// `$XDG_RUNTIME_DIR/ekka`, `/run/ekka`, and `/tmp/ekka-UID` for users that have neither.
#[must_use]
pub fn runtime_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        dirs.push(PathBuf::from(dir).join("ekka"));
    }
    dirs.push("/run/ekka".into());
    dirs.push(format!("/tmp/ekka-{}", rustix::process::getuid().as_raw()).into());
    dirs
}

/// Leaves a link to a socket under the node's name in the first directory that takes one.
///
/// # Errors
/// No directory takes one.
pub fn link_socket(dirs: &[PathBuf], name: &NodeName, socket: &Path) -> io::Result<RuntimeLink> {
    let socket = std::path::absolute(socket)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no runtime directory");
    for dir in dirs {
        match link_in(dir, name, &socket) {
            Ok(link) => return Ok(RuntimeLink { link, socket }),
            Err(error) => last = io::Error::new(error.kind(), format!("{}: {error}", dir.display())),
        }
    }
    Err(last)
}

fn link_in(dir: &Path, name: &NodeName, socket: &Path) -> io::Result<PathBuf> {
    match std::fs::DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(dir)?;
    // In /tmp anybody may have made it: a directory of somebody else could lead commands astray.
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "is not a directory of this user"));
    }
    let link = dir.join(format!("{name}.sock"));
    let fresh = dir.join(format!(".{name}.{}", std::process::id()));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(socket, &fresh)?;
    std::fs::rename(&fresh, &link)?;
    Ok(link)
}
