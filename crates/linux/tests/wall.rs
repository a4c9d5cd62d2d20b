//! The network wall in a namespace of its own: what is redirected, what is refused, what stays local.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use insula_linux::{fork, loopback, wall};
use rustix::thread::UnshareFlags;

const SOON: Duration = Duration::from_secs(5);

/// Enters fresh user and network namespaces: the thread of this test program is one of many, so the claim runs
/// in a child.
fn inside(claim: impl FnOnce()) {
    // SAFETY: the child runs only this claim and ends with it; what it uses of the allocator was not held by
    // another thread, because nextest and `--test-threads=1` alike run one claim here (one test per program).
    match unsafe { fork::fork() }.unwrap() {
        fork::Fork::Parent(pid) => {
            let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
            assert_eq!(status.unwrap().1.exit_status(), Some(0), "the claim inside failed");
        }
        fork::Fork::Child => {
            let all = UnshareFlags::NEWUSER | UnshareFlags::NEWNET;
            // SAFETY: after the fork this process has one thread.
            unsafe { fork::unshare(all) }.unwrap();
            loopback::bring_up().unwrap();
            let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(claim)).is_ok();
            fork::leave(i32::from(!held))
        }
    }
}

fn connect(to: &str) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&to.parse::<SocketAddr>().unwrap(), SOON)
}

#[test]
fn what_goes_out_comes_to_the_listeners_with_where_it_was_meant_to_go() {
    inside(|| {
        // Negative control: without the wall nothing is there.
        assert_eq!(connect("93.184.216.34:443").unwrap_err().kind(), ErrorKind::NetworkUnreachable);
        let wall::Listeners(mut all) = wall::build().unwrap();
        let udp = UdpSocket::from(all.remove(1));
        let tcp = TcpListener::from(all.remove(0));
        tcp.set_nonblocking(false).unwrap();
        udp.set_nonblocking(false).unwrap();
        for to in ["93.184.216.34:443", "169.254.169.254:80", "10.0.0.5:5432", "8.8.8.8:53", "127.0.0.53:53"]
        {
            let client = connect(to).unwrap();
            assert_eq!(client.local_addr().unwrap().ip().to_string(), "127.0.0.1");
            let (server, _) = tcp.accept().unwrap();
            assert_eq!(wall::original(&server, false).unwrap().to_string(), to);
        }
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = own.local_addr().unwrap().to_string();
        connect(&address).unwrap();
        own.accept().unwrap();
        let direct = connect(&format!("127.0.0.1:{}", wall::PORT)).unwrap();
        let (server, _) = tcp.accept().unwrap();
        assert_eq!(wall::original(&server, false).unwrap().port(), wall::PORT);
        drop(direct);
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        let mut buffer = [0; 8];
        for to in ["8.8.8.8:53", "127.0.0.53:53"] {
            client.send_to(b"q", to).unwrap();
            let (_, from) = udp.recv_from(&mut buffer).unwrap();
            udp.send_to(b"a", from).unwrap();
            assert_eq!(
                client.recv_from(&mut buffer).unwrap().1.to_string(),
                to,
                "the answer comes from whom was asked"
            );
        }
        let refused = client.send_to(b"x", "8.8.8.8:443").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "other UDP fails at once");
        if let Some(tcp) = all.into_iter().next().map(TcpListener::from) {
            tcp.set_nonblocking(false).unwrap();
            let _client = connect("[2606:2800::1]:443").unwrap();
            let (server, _) = tcp.accept().unwrap();
            assert_eq!(wall::original(&server, true).unwrap().to_string(), "[2606:2800::1]:443");
        }
    });
}
