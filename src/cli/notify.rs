//! Tells a service manager how the daemon is, as `Type=notify` of systemd wants it (`sd_notify(3)`).
//!
//! Owns: the datagram. Does not own: when it is sent, which is [`super::serve`]'s to say. Without `NOTIFY_SOCKET`,
//! which such a manager sets, nothing is sent.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use tracing::warn;

/// How the daemon is.
#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// Everything listens.
    Ready,
    /// A planned stop has begun.
    Stopping,
}

/// Tells it. A manager that cannot be told is no reason not to serve: it ends a daemon that it hears nothing of.
pub(super) fn tell(state: State, status: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    let word = match state {
        State::Ready => "READY=1",
        State::Stopping => "STOPPING=1",
    };
    if let Err(error) = send(&socket, &format!("{word}\nSTATUS={status}\n")) {
        warn!(%error, socket = %socket.display(), "the service manager cannot be told; is NOTIFY_SOCKET right?");
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address(socket)?).map(drop)
}

/// A path, or behind an `@` a name that is in no file system.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_notified() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("skyhound-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), "READY=1\n").unwrap();
        let mut heard = [0; 64];
        let length = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1\n");
    }

    #[test]
    fn a_missing_socket_is_an_error() {
        assert!(send(OsStr::new("/nowhere/at/all"), "READY=1\n").is_err());
    }
}
