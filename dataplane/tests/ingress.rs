//! What a forged or strange segment must not do to a connection.
//!
//! smoltcp decides which segments count, but payload is kept before it is asked: whatever it is
//! going to refuse must not be kept, and whatever it is shown must not be more acceptable than
//! what arrived (RFC 9293 section 3.10.7, RFC 5961 section 5).

mod frames;

use std::net::SocketAddr;

use dataplane::classify::{Packet, classify};
use dataplane::conn::Conn;
use dataplane::counters::Drop;
use dataplane::emit::Headers;
use dataplane::payload::SpanArena;
use dataplane::port::{Frame, PortCaps};
use dataplane::settings::{PortId, PortSettings};
use dataplane::tcp::Stack;
use frames::{HeapFrame, HeapPool};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{IpAddress, IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RING: usize = 65_536;

struct Bench {
    stack: Stack,
    conn: Conn,
    arena: SpanArena<HeapFrame>,
    pool: HeapPool,
    /// The next number the peer sends.
    peer_seq: u32,
    /// Whether there are frames to keep payload in.
    room: bool,
    /// The window the peer offers.
    window: u16,
    /// Whether the last segment was answered at once.
    answered: bool,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        let settings = PortSettings {
            addresses: vec![("10.0.0.1".parse().unwrap(), 24)],
            ..PortSettings::default()
        };
        let caps = PortCaps {
            name: "none".to_owned(),
            mac: MAC,
            mtu: 1500,
            tx_tcp_checksum: false,
            tso_v4: None,
            max_pieces: 8,
            max_burst: 1,
        };
        let ring = || Box::leak(vec![0; RING].into_boxed_slice());
        Self {
            stack: Stack::new(&settings, &caps, 7, 0),
            conn: Conn::new(ring(), ring()),
            arena: SpanArena::with_capacity(16),
            pool: HeapPool::new(64, 1),
            peer_seq: 0x7fff_ff00,
            room: true,
            window: 5000,
            answered: false,
            now: 0,
        }
    }

    fn local() -> SocketAddr {
        "10.0.0.1:80".parse().unwrap()
    }

    fn remote() -> SocketAddr {
        "10.0.0.9:40000".parse().unwrap()
    }

    fn state(&self) -> State {
        self.conn.socket().state()
    }

    /// Hands a segment of the peer to the connection.
    fn arrive(
        &mut self,
        control: TcpControl,
        seq: u32,
        ack: Option<u32>,
        payload: &[u8],
    ) -> Option<Drop> {
        let segment = TcpRepr {
            src_port: 40_000,
            dst_port: 80,
            control,
            seq_number: TcpSeqNumber(seq as i32),
            ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
            window_len: self.window,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let (source, target) = (IpAddress::v4(10, 0, 0, 9), IpAddress::v4(10, 0, 0, 1));
        let caps = ChecksumCapabilities::default();
        let ip = IpRepr::new(source, target, IpProtocol::Tcp, segment.buffer_len(), 64);
        let mut frame = vec![0; 14 + 20 + segment.buffer_len()];
        frame[12] = 8;
        ip.emit(&mut frame[14..], &caps);
        let mut tcp = TcpPacket::new_unchecked(&mut frame[34..]);
        segment.emit(&mut tcp, &source, &target, &caps);
        let Packet::Tcp(segment) = classify(PortId(0), &frame, frame.len() as u32) else {
            panic!("not a segment");
        };
        let _ = self.conn.key.get_or_insert(segment.key);
        let frames = [self.pool.filled(&frame)];
        self.now += 1;
        let refused = self.stack.deliver(
            &mut self.conn,
            &mut self.arena,
            &segment,
            &frames,
            self.room,
            self.now,
        );
        self.answered = self.stack.device.take_emitted().is_some();
        refused
    }

    /// Lets the connection send, as the worker does; returns the sequence number.
    fn emit(&mut self) -> u32 {
        self.now += 1;
        self.stack.egress(self.now, &mut self.conn.set);
        let emitted = self.stack.device.take_emitted().expect("something to send");
        let packet = self.stack.device.emitted_bytes(emitted.len);
        let headers = Headers::new(packet, MAC, MAC);
        if headers.syn() {
            self.conn.local_isn = Some(headers.seq());
        }
        headers.seq()
    }

    /// The first number that is not acknowledged yet.
    fn una(&self) -> u32 {
        let isn = self.conn.local_isn.expect("SYN was sent");
        isn.wrapping_add(1)
            .wrapping_add(self.conn.send.acked() as u32)
    }

    /// A connection whose SYN|ACK is on its way.
    fn accepting() -> Self {
        let mut bench = Self::new();
        bench.conn.socket_mut().listen(Self::local()).unwrap();
        let seq = bench.peer_seq;
        let refused = bench.arrive(TcpControl::Syn, seq, None, b"");
        assert_eq!(refused, None);
        bench.peer_seq = seq.wrapping_add(1);
        let _ = bench.emit();
        assert_eq!(bench.state(), State::SynReceived);
        bench
    }

    fn accepted() -> Self {
        let mut bench = Self::accepting();
        let (seq, ack) = (bench.peer_seq, bench.una());
        let refused = bench.arrive(TcpControl::None, seq, Some(ack), b"");
        assert_eq!(refused, None);
        assert_eq!(bench.state(), State::Established);
        bench
    }

    /// A connection whose SYN is on its way.
    fn connecting() -> Self {
        let mut bench = Self::new();
        bench
            .stack
            .connect(bench.conn.socket_mut(), Self::local(), Self::remote())
            .unwrap();
        let _ = bench.emit();
        assert_eq!(bench.state(), State::SynSent);
        bench
    }

    /// The next bytes of the peer arrive as they should.
    fn receive(&mut self, bytes: &[u8]) {
        let (seq, ack) = (self.peer_seq, self.una());
        let refused = self.arrive(TcpControl::None, seq, Some(ack), bytes);
        assert_eq!(refused, None);
        self.peer_seq = seq.wrapping_add(bytes.len() as u32);
    }

    fn readable(&self) -> Vec<u8> {
        let mut seen = Vec::new();
        for piece in self.conn.recv.readable_pieces(&self.arena, 0) {
            let from = piece.offset as usize;
            seen.extend_from_slice(&piece.frame.data()[from..from + piece.len as usize]);
        }
        assert_eq!(seen.len() as u64, self.conn.recv.available());
        assert_eq!(seen.len(), self.conn.socket().recv_queue());
        seen
    }

    /// Queues bytes, and has them sent once.
    fn transmit(&mut self, bytes: &[u8]) {
        let frame = self.pool.filled(bytes);
        let len = bytes.len() as u32;
        self.conn.send.push(&mut self.arena, frame, 0, len);
        self.conn.tell(0);
        let _ = self.emit();
    }
}

#[test]
fn both_ways_of_opening() {
    let mut bench = Bench::accepted();
    bench.receive(b"hello ");
    bench.receive(b"world");
    assert_eq!(bench.readable(), b"hello world");

    let mut bench = Bench::connecting();
    let (seq, ack) = (bench.peer_seq, bench.una());
    let refused = bench.arrive(TcpControl::Syn, seq, Some(ack), b"");
    assert_eq!(refused, None);
    assert_eq!(bench.state(), State::Established);
    bench.peer_seq = seq.wrapping_add(1);
    bench.receive(b"hello");
    assert_eq!(bench.readable(), b"hello");
}

/// The request may come with the last acknowledgement of the handshake.
#[test]
fn the_handshake_ends_with_payload() {
    let mut bench = Bench::accepting();
    bench.receive(b"hello");
    assert_eq!(bench.state(), State::Established);
    assert_eq!(bench.readable(), b"hello");
}

/// Whoever has not seen our SYN|ACK does not know our number: an address that is forged must not
/// get a connection.
#[test]
fn a_wrong_number_opens_no_connection() {
    for wrong in [1, 2, 1000, 0x7000_0000, 0x9000_0000, 0xffff_ffff] {
        let mut bench = Bench::accepting();
        let (seq, ack) = (bench.peer_seq, bench.una().wrapping_sub(wrong));
        let _ = bench.arrive(TcpControl::None, seq, Some(ack), b"forged");
        assert_eq!(bench.state(), State::SynReceived, "{wrong:x}");
        bench.receive(b"honest");
        assert_eq!(bench.state(), State::Established);
        assert_eq!(bench.readable(), b"honest");
    }
}

#[test]
fn a_wrong_syn_ack_leaves_no_trace() {
    for (wrong, payload) in [
        (1, &b""[..]),
        (1, b"forged"),
        (u32::MAX, b""),
        (500, b"forged"),
    ] {
        let mut bench = Bench::connecting();
        let ack = bench.una();
        let _ = bench.arrive(
            TcpControl::Syn,
            0x1111_1111,
            Some(ack.wrapping_sub(wrong)),
            payload,
        );
        assert_eq!(bench.state(), State::SynSent);
        let seq = bench.peer_seq;
        let refused = bench.arrive(TcpControl::Syn, seq, Some(ack), b"");
        assert_eq!(refused, None);
        assert_eq!(bench.state(), State::Established);
        bench.peer_seq = seq.wrapping_add(1);
        bench.receive(b"honest");
        assert_eq!(bench.readable(), b"honest");
    }
}

/// RFC 5961 section 5: to inject data the window is not enough, the acknowledgement must fit too.
#[test]
fn payload_with_a_wrong_acknowledgement_is_not_kept() {
    // Nothing of what was acknowledged lies further back than the send ring is long.
    let old = (RING as u32 + 1).wrapping_neg();
    let much_older = 0x7000_0000u32.wrapping_neg();
    for wrong in [
        Some(200),
        Some(0x7000_0000),
        Some(old),
        Some(much_older),
        None,
    ] {
        let mut bench = Bench::accepted();
        bench.transmit(&[1; 100]);
        bench.receive(b"hello ");
        let ack = wrong.map(|wrong| bench.una().wrapping_add(wrong));
        let seq = bench.peer_seq;
        let refused = bench.arrive(TcpControl::None, seq, ack, b"forge");
        assert!(refused.is_some(), "{wrong:x?}");
        let seq = seq.wrapping_add(5);
        let _ = bench.arrive(TcpControl::None, seq, ack, b"d out of order");
        assert_eq!(bench.readable(), b"hello ");
        bench.receive(b"honest bytes of the peer itself");
        assert_eq!(bench.readable(), b"hello honest bytes of the peer itself");
        assert_eq!(bench.conn.send.acked(), 0);
    }
}

/// What is refused for its acknowledgement is shown without its payload: it is answered.
#[test]
fn a_wrong_acknowledgement_is_challenged() {
    let mut bench = Bench::accepted();
    // Challenges are limited to one a second.
    bench.now += 2000;
    let (seq, ack) = (bench.peer_seq, bench.una().wrapping_add(1));
    let refused = bench.arrive(TcpControl::None, seq, Some(ack), b"forged");
    assert_eq!(refused, Some(Drop::TcpBadAck));
    assert!(bench.answered);
    assert_eq!(bench.readable(), b"");
}

#[test]
fn without_room_only_the_acknowledgement_counts() {
    let mut bench = Bench::accepted();
    bench.transmit(&[1; 100]);
    bench.room = false;
    let (seq, ack) = (bench.peer_seq, bench.una().wrapping_add(100));
    let refused = bench.arrive(TcpControl::Fin, seq, Some(ack), b"the end");
    assert_eq!(refused, Some(Drop::TcpPoolLow));
    assert_eq!(bench.conn.send.acked(), 100);
    assert_eq!(bench.readable(), b"");
    assert_eq!(bench.state(), State::Established);
    assert_eq!(bench.arena.used(), 0);
    // The peer sends it again.
    bench.room = true;
    let refused = bench.arrive(TcpControl::Fin, seq, Some(ack), b"the end");
    assert_eq!(refused, None);
    assert_eq!(bench.readable(), b"the end");
    assert_eq!(bench.state(), State::CloseWait);
}

/// A segment that was overtaken by a newer acknowledgement still brings its payload.
#[test]
fn payload_with_an_old_acknowledgement_is_kept() {
    let mut bench = Bench::accepted();
    let old = bench.una();
    bench.transmit(&[1; 1000]);
    let (seq, new) = (bench.peer_seq, old.wrapping_add(1000));
    let refused = bench.arrive(TcpControl::None, seq, Some(new), b"");
    assert_eq!(refused, None);
    assert_eq!(bench.conn.send.acked(), 1000);
    let refused = bench.arrive(TcpControl::None, seq, Some(old), b"overtaken");
    assert_eq!(refused, None);
    assert_eq!(bench.readable(), b"overtaken");
    assert_eq!(bench.conn.send.acked(), 1000);
}

#[test]
fn an_acknowledgement_of_our_end_fits() {
    let mut bench = Bench::accepted();
    bench.transmit(&[1; 100]);
    bench.conn.socket_mut().close();
    let _ = bench.emit();
    assert_eq!(bench.state(), State::FinWait1);
    let (seq, ack) = (bench.peer_seq, bench.una().wrapping_add(101));
    let refused = bench.arrive(TcpControl::None, seq, Some(ack), b"more");
    assert_eq!(refused, None);
    assert_eq!(bench.state(), State::FinWait2);
    assert_eq!(bench.readable(), b"more");
    // Now our end is acknowledged: what the peer sends acknowledges it again.
    let seq = seq.wrapping_add(4);
    let refused = bench.arrive(TcpControl::None, seq, Some(ack), b" and more");
    assert_eq!(refused, None);
    assert_eq!(bench.readable(), b"more and more");
    // The overtaken acknowledgement of our data alone.
    let seq = seq.wrapping_add(9);
    let old = ack.wrapping_sub(50);
    let refused = bench.arrive(TcpControl::None, seq, Some(old), b", overtaken");
    assert_eq!(refused, None);
    assert_eq!(bench.readable(), b"more and more, overtaken");
}

/// The window closes while bytes are in flight, and the retransmission timer goes off: smoltcp sees
/// nothing that it may send, and would neither send nor probe ever again (RFC 9293 section 3.8.6.1).
#[test]
fn a_window_that_closed_over_lost_bytes_is_probed() {
    let mut bench = Bench::accepted();
    let frame = bench.pool.filled(&[7; 1000]);
    bench.conn.send.push(&mut bench.arena, frame, 0, 1000);
    bench.conn.tell(0);
    let first = bench.emit();
    let recovery = &mut bench.conn.recovery;
    let resent = recovery.on_sent((0, 1000), 0, 0, bench.now * 1000);
    assert_eq!(resent, None);
    bench.conn.send.pieces(&bench.arena, 0, 1000).for_each(drop);
    bench.window = 0;
    bench.receive(b"x");
    let mut probes = Vec::new();
    for _ in 0..60_000 {
        bench.now += 1;
        bench.stack.probe(&mut bench.conn, bench.now);
        bench.stack.egress(bench.now, &mut bench.conn.set);
        if let Some(emitted) = bench.stack.device.take_emitted() {
            let packet = bench.stack.device.emitted_bytes(emitted.len);
            let headers = Headers::new(packet, MAC, MAC);
            if emitted.len > headers.ip_len() {
                assert_eq!(headers.seq(), first);
                probes.push(bench.now);
            }
        }
        let deadline = bench.stack.deadline(bench.now, &bench.conn.set);
        let _ = bench.stack.wake_at(&mut bench.conn, deadline, bench.now);
    }
    assert!((3..60).contains(&probes.len()), "{probes:?}");
    // What the window lets through when it opens goes out, from behind the byte that probed.
    bench.window = 5000;
    bench.receive(b"y");
    assert_eq!(bench.emit(), first.wrapping_add(1));
}
