//! Is a descriptor from behind the wall what it should be?

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, getpeername, sockopt};

/// A TCP socket of this family that is neither connected nor listening.
pub(crate) fn is_unconnected_tcp(fd: BorrowedFd<'_>, v6: bool) -> bool {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    sockopt::socket_domain(fd) == Ok(family)
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(fd) == Ok(false)
        && sockopt::socket_protocol(fd) == Ok(Some(rustix::net::ipproto::TCP))
        && getpeername(fd).is_err()
        && rustix::io::ioctl_fionbio(fd, true).is_ok()
}

/// A connected stream socket, TCP or Unix.
pub(crate) fn is_connected_stream(fd: BorrowedFd<'_>) -> bool {
    let families = [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX];
    sockopt::socket_domain(fd).is_ok_and(|family| families.contains(&family))
        && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(fd) == Ok(false)
        && getpeername(fd).is_ok()
        && rustix::io::ioctl_fionbio(fd, true).is_ok()
}

/// The listeners of a network wall: TCP that listens and UDP that is bound, IPv4 then IPv6; or none.
pub(crate) fn are_listeners_of_wall(fds: &[OwnedFd]) -> bool {
    let families = [AddressFamily::INET, AddressFamily::INET6];
    let pair = |(pair, family): (&[OwnedFd], AddressFamily)| match pair {
        [tcp, udp] => {
            let of = |fd: &OwnedFd, kind| {
                sockopt::socket_domain(fd) == Ok(family)
                    && sockopt::socket_type(fd) == Ok(kind)
                    && rustix::io::ioctl_fionbio(fd, true).is_ok()
            };
            of(tcp, SocketType::STREAM)
                && sockopt::socket_acceptconn(tcp) == Ok(true)
                && of(udp, SocketType::DGRAM)
                && sockopt::socket_protocol(udp) == Ok(Some(rustix::net::ipproto::UDP))
        }
        _ => false,
    };
    fds.len() <= 2 * families.len() && fds.chunks(2).zip(families).all(pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SocketFlags, socket_with};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_a_fresh_tcp_socket_passes_for_one() {
        let fresh = |family, kind| {
            socket_with(family, kind, SocketFlags::CLOEXEC, None).expect("a socket can be made")
        };
        let v4 = fresh(AddressFamily::INET, SocketType::STREAM);
        assert!(is_unconnected_tcp(v4.as_fd(), false));
        assert!(!is_unconnected_tcp(v4.as_fd(), true), "the family was not checked");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!is_unconnected_tcp(listener.as_fd(), false), "a listener passed");
        assert!(!is_unconnected_tcp(connected.as_fd(), false), "a connected socket passed");
        assert!(!is_unconnected_tcp(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd(), false), "UDP passed");
        let file = tempfile::tempfile().unwrap();
        assert!(!is_unconnected_tcp(file.as_fd(), false), "a file passed");
        let unix = fresh(AddressFamily::UNIX, SocketType::STREAM);
        assert!(!is_unconnected_tcp(unix.as_fd(), false), "a Unix socket passed");
    }

    #[test]
    fn only_listeners_of_the_right_families_pass_for_a_wall() {
        let tcp = |at: &str| OwnedFd::from(TcpListener::bind(at).unwrap());
        let udp = |at: &str| OwnedFd::from(UdpSocket::bind(at).unwrap());
        let (v4, v6) = ("127.0.0.1:0", "[::1]:0");
        assert!(are_listeners_of_wall(&[]));
        assert!(are_listeners_of_wall(&[tcp(v4), udp(v4)]));
        assert!(are_listeners_of_wall(&[tcp(v4), udp(v4), tcp(v6), udp(v6)]));
        assert!(!are_listeners_of_wall(&[tcp(v4)]), "one is missing");
        assert!(!are_listeners_of_wall(&[udp(v4), tcp(v4)]), "the order was not checked");
        assert!(!are_listeners_of_wall(&[tcp(v6), udp(v6)]), "the family was not checked");
        let fresh = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        assert!(!are_listeners_of_wall(&[fresh, udp(v4)]), "a socket that does not listen passed");
    }

    #[test]
    fn only_a_connected_stream_passes_for_one() {
        let (a, _b) = UnixStream::pair().unwrap();
        assert!(is_connected_stream(a.as_fd()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_connected_stream(connected.as_fd()));
        assert!(!is_connected_stream(listener.as_fd()), "a listener passed");
        assert!(!is_connected_stream(tempfile::tempfile().unwrap().as_fd()), "a file passed");
        let fresh = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        assert!(!is_connected_stream(fresh.as_fd()), "an unconnected socket passed");
    }
}
