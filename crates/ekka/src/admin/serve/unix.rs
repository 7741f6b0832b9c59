//! The Unix socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use axum::serve::Listener;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, unix};
use tokio_util::sync::CancellationToken;

use super::{ServeError, Served, spawn};
use crate::admin::AdminState;
use crate::admin::routes::router;

/// What `sun_path` holds, less the zero at its end.
const PATH_LEN_MAX: usize = 107;
const BACKLOG: i32 = 128;

/// Serves the whole interface on a Unix socket: mode 0600, or 0660 for a group.
///
/// A socket file that nobody answers on is left over from a crash and replaced.
///
/// # Errors
/// Somebody answers there, something else lies there, the group does not exist, or the system refuses.
pub async fn serve_unix(
    state: AdminState,
    path: &Path,
    group: Option<&str>,
    shutdown: CancellationToken,
) -> Result<Served, ServeError> {
    let len = path.as_os_str().len();
    if len > PATH_LEN_MAX {
        return Err(ServeError::TooLong { path: path.to_owned(), len });
    }
    let gid = group.map(group_id).transpose()?;
    clear(path)?;
    let failed = |error| ServeError::io(format!("api.socket = {}", path.display()), error);
    let listener = bind(path, gid).map_err(failed)?;
    let file = SocketFile::of(path).map_err(failed)?;
    Ok(spawn(OwnSocket { listener, _file: file }, router(state), None, shutdown))
}

/// Removes what a crash left, and nothing else.
fn clear(path: &Path) -> Result<(), ServeError> {
    let failed = |error| ServeError::io(format!("api.socket = {}", path.display()), error);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(ServeError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ServeError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn bind(path: &Path, gid: Option<u32>) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file gets the mode that the socket has when it is bound: at no moment can others connect.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(gid) = gid {
        std::os::unix::fs::chown(path, None, Some(gid))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(StdListener::from(socket))
}

/// The number of a group, given by its name or its number.
fn group_id(group: &str) -> Result<u32, ServeError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let file = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let number = file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    });
    number.ok_or_else(|| ServeError::NoGroup(group.to_owned()))
}

/// A listener that takes its file with it when it ends.
struct OwnSocket {
    listener: UnixListener,
    _file: SocketFile,
}

impl Listener for OwnSocket {
    type Io = tokio::net::UnixStream;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        Listener::accept(&mut self.listener).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The file of a socket, known by its inode: one that another process made meanwhile is left alone.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), inode: (file.dev(), file.ino()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.inode) {
            let _ = std::fs::remove_file(&self.path); // what is left over is replaced at the next start
        }
    }
}
