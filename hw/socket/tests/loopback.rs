//! Both calls on sockets of the kernel, over loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    (client, server)
}

#[test]
fn what_is_discarded_is_gone_and_the_rest_stays() {
    let (mut client, mut server) = pair();
    let nothing = socket::discard(server.as_fd(), 10).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    client.write_all(b"0123456789abcdef").unwrap();
    // Waits until it is all there.
    let mut first = [0; 1];
    server.read_exact(&mut first).unwrap();
    assert_eq!(socket::discard(server.as_fd(), 9).unwrap(), 9);
    let mut rest = [0; 6];
    server.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"abcdef");
    drop(client);
    assert_eq!(server.read(&mut rest).unwrap(), 0);
    assert_eq!(socket::discard(server.as_fd(), 9).unwrap(), 0, "closed");
}

#[test]
fn other_sockets_are_refused_without_harm() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    assert_eq!(socket.send_to(b"abc", address).unwrap(), 3);
    let refused = socket::discard(socket.as_fd(), 3).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EFAULT));
}

#[test]
fn the_port_is_chosen_by_connect() {
    // std binds when it makes a socket, so the order here is not that of a client: what can be seen is
    // that the kernel takes the option for both families.
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            continue; // No IPv6 here.
        };
        socket::defer_port(listener.as_fd()).unwrap();
    }
}
