//! Notifications of a service manager: the protocol of systemd's `Type=notify` (`sd_notify(3)`).
//!
//! Owns: the datagram. Does not own: the time of sending ([`super::serve`]). Nothing is sent without `NOTIFY_SOCKET`,
//! which such a manager sets.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use tracing::warn;

/// The state of the daemon.
#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// All listeners are open.
    Ready,
    /// The graceful shutdown has begun.
    Stopping,
}

/// Sends the state to the service manager. A failure does not stop the daemon: a manager that receives nothing ends it
/// anyway.
pub(super) fn notify(state: State, status: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    let assignment = match state {
        State::Ready => "READY=1",
        State::Stopping => "STOPPING=1",
    };
    if let Err(error) = send(&socket, &format!("{assignment}\nSTATUS={status}\n")) {
        warn!(%error, socket = %socket.display(), "cannot notify the service manager; check NOTIFY_SOCKET");
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address(socket)?).map(drop)
}

/// Parses the address: a path, or after an `@` an abstract name.
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
        let mut received = [0; 64];
        let length = manager.recv(&mut received).unwrap();
        assert_eq!(&received[..length], b"READY=1\n");
    }

    #[test]
    fn a_missing_socket_is_an_error() {
        assert!(send(OsStr::new("/nowhere/at/all"), "READY=1\n").is_err());
    }
}
