//! The proxy forwards everything or what its rules say, in order, and ends with its value.

use super::*;

/// Connects through a proxy; both ends.
fn through(disturbance: Disturbance) -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), disturbance).unwrap();
    let host = TcpStream::connect(proxy.address()).unwrap();
    let (controller, _) = listener.accept().unwrap();
    for stream in [&host, &controller] {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    (proxy, host, controller)
}

fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::new(len as u64).fill(&mut bytes);
    bytes
}

/// Sends from another thread, so that no buffer has to hold everything, and collects until the end.
fn sent_through(mut from: TcpStream, to: &mut TcpStream, what: Vec<u8>) -> Vec<u8> {
    let sender = thread::spawn(move || {
        let _ = from.write_all(&what);
        let _ = from.shutdown(Shutdown::Write);
        from
    });
    let mut arrived = Vec::new();
    let _ = to.read_to_end(&mut arrived);
    drop(sender.join());
    arrived
}

#[test]
fn undisturbed_bytes_arrive_both_ways_and_so_does_the_end() {
    let (_proxy, mut host, mut controller) = through(Disturbance::default());
    host.write_all(b"there").unwrap();
    controller.write_all(b"back").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(controller.read(&mut buffer).unwrap(), 5);
    assert_eq!(host.read(&mut buffer).unwrap(), 4);
    assert_eq!(sent_through(host, &mut controller, bytes(3_000_000)), bytes(3_000_000));
}

#[test]
fn odd_pieces_and_delays_keep_the_order() {
    let rules = Direction {
        delay: Duration::ZERO..=Duration::from_millis(2),
        segments: Some(1..=977),
        ..Direction::default()
    };
    let (_proxy, host, mut controller) =
        through(Disturbance { seed: 4, to_controller: rules, ..Disturbance::default() });
    assert_eq!(sent_through(host, &mut controller, bytes(100_000)), bytes(100_000));
}

#[test]
fn one_bit_flips_where_it_shall() {
    let rules = Direction { flip_at: Some(777), ..Direction::default() };
    let (_proxy, mut host, controller) = through(Disturbance { to_host: rules, ..Disturbance::default() });
    let (sent, arrived) = (bytes(5000), sent_through(controller, &mut host, bytes(5000)));
    let wrong: Vec<usize> = (0..5000).filter(|&at| sent[at] != arrived[at]).collect();
    assert_eq!(wrong, [777]);
    assert_eq!((sent[777] ^ arrived[777]).count_ones(), 1);
}

#[test]
fn a_stall_is_silent_and_a_reset_is_not() {
    let rules = Direction { stall_at: Some(1000), ..Direction::default() };
    let (proxy, mut host, mut controller) =
        through(Disturbance { to_controller: rules, ..Disturbance::default() });
    host.write_all(&bytes(3000)).unwrap();
    controller.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut arrived = vec![0; 1000];
    controller.read_exact(&mut arrived).unwrap();
    assert_eq!(arrived, bytes(3000)[..1000]);
    assert!(
        controller
            .read(&mut [0])
            .is_err_and(|e| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    );
    drop(proxy);

    let rules = Direction { reset_at: Some(1000), ..Direction::default() };
    let (_proxy, mut host, mut controller) =
        through(Disturbance { to_controller: rules, ..Disturbance::default() });
    host.write_all(&bytes(3000)).unwrap();
    let mut arrived = Vec::new();
    let error = controller.read_to_end(&mut arrived).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn only_the_chosen_connections_suffer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let rules = Direction { flip_at: Some(0), ..Direction::default() };
    let disturbance =
        Disturbance { to_controller: rules, connections: Some(1..=1), ..Disturbance::default() };
    let proxy = Proxy::start(listener.local_addr().unwrap(), disturbance).unwrap();
    let flipped: Vec<bool> = (0..3)
        .map(|_| {
            let mut host = TcpStream::connect(proxy.address()).unwrap();
            let (mut controller, _) = listener.accept().unwrap();
            host.write_all(&[0]).unwrap();
            let mut byte = [0];
            controller.read_exact(&mut byte).unwrap();
            byte != [0]
        })
        .collect();
    assert_eq!(flipped, [false, true, false]);
}
