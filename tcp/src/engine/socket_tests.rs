//! The options sockets get, read back from the system.

use std::{
    net::{TcpListener, TcpStream},
    time::Duration,
};

use super::*;
use crate::config::Keepalive;

fn check(socket: impl AsFd, config: &TcpConfig) {
    let socket = SockRef::from(&socket);
    assert!(socket.tcp_nodelay().unwrap(), "TCP_NODELAY");
    assert_eq!(socket.keepalive().unwrap(), config.keepalive.is_some(), "SO_KEEPALIVE");
    if let Some(Keepalive { idle, interval, probes }) = config.keepalive {
        assert_eq!(socket.tcp_keepalive_time().unwrap(), idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), probes);
    }
    #[cfg(target_os = "linux")]
    assert_eq!(socket.tcp_user_timeout().unwrap(), config.user_timeout, "TCP_USER_TIMEOUT");
}

#[test]
fn both_ends_are_tuned_as_configured() {
    let rare = Keepalive { idle: Duration::from_secs(70), interval: Duration::from_secs(9), probes: 3 };
    let changed = TcpConfig {
        keepalive: Some(rare),
        user_timeout: Some(Duration::from_millis(2500)),
        ..TcpConfig::default()
    };
    let off = TcpConfig { keepalive: None, user_timeout: None, ..TcpConfig::default() };
    for config in [TcpConfig::default(), changed, off] {
        let (listener, address) = listen("127.0.0.1:0".parse().unwrap(), &config).unwrap();
        let connecting = connect(address, None, &config).unwrap();
        let accepted = (0..500)
            .find_map(|_| {
                let accepted = accept(&listener, &config).unwrap();
                if accepted.is_none() {
                    rustix::event::poll(
                        &mut [],
                        Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 }),
                    )
                    .unwrap();
                }
                accepted
            })
            .expect("a connection");
        check(&connecting, &config);
        check(&accepted, &config);
    }
}

#[test]
fn a_socket_that_is_handed_over_is_tuned_as_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    prepare(&stream, &TcpConfig::default()).unwrap();
    check(&stream, &TcpConfig::default());
}
