//! The seam between the engine and everything that moves packets.
//!
//! A [`Port`] is one queue pair of a NIC (or of whatever stands in for one). It hands the engine
//! bursts of received packets, each a chain of [`Frame`]s, and takes packets to send, each a block
//! of header bytes and a gather list of pieces of frames. [`FramePool`] is where frames to write
//! into come from. `hw/*` implement these traits; `sim` implements them for tests.

/// One buffer of packet memory: an mbuf, or what plays its part.
///
/// A frame is a handle with shared ownership: `clone` makes another owner of the same bytes and
/// costs a reference count, and the buffer returns to its pool when the last owner drops it.
/// Frames belong to one worker and are not `Send`.
pub trait Frame: Clone {
    /// The bytes the frame holds: from the start of its data to its length.
    fn data(&self) -> &[u8];

    /// The whole room of the frame, `capacity()` bytes, for writing. `None` while the frame has
    /// other owners: bytes that somebody else may be sending are never changed.
    fn room_mut(&mut self) -> Option<&mut [u8]>;

    /// Sets how many bytes of the room are data. `len` must not exceed `capacity()`.
    fn set_len(&mut self, len: usize);

    /// How many bytes the frame can hold.
    fn capacity(&self) -> usize;

    /// Another owner, as `clone` makes one; `None` when the frame has as many as it can count.
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// Which of a pool's two sizes of frame is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameClass {
    /// About 2 KiB: heads, replies the proxy makes itself, control packets.
    Small,
    /// About 16 KiB: payload.
    Large,
}

/// How full a pool is, in frames of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolLevel {
    /// Frames the pool was made with.
    pub total: u32,
    /// Frames that can be allocated now.
    pub free: u32,
}

/// Where a worker's frames come from.
pub trait FramePool {
    /// The frames of this pool.
    type Frame: Frame;

    /// A frame of length zero and a single owner, or `None` when the pool is empty.
    fn alloc(&mut self, class: FrameClass) -> Option<Self::Frame>;

    /// How many frames of `class` there are and how many are free.
    fn level(&self, class: FrameClass) -> PoolLevel;

    /// Whether the caller can have fewer than one in `part` of all frames of `class`. Cheap enough for
    /// once a turn, where [`level`](Self::level) may have to ask around.
    fn is_low(&self, class: FrameClass, part: u32) -> bool {
        let level = self.level(class);
        level.free < level.total / part
    }
}

/// What a port says about the L4 checksum of a packet it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nobody looked: the engine verifies it.
    Unverified,
    /// The device verified it, or the bytes never left this machine's memory.
    Good,
    /// The device found it wrong.
    Bad,
}

/// One received packet of an [`RxBurst`].
#[derive(Clone, Copy, Debug)]
pub struct RxPacket {
    /// Bytes of the packet, from the Ethernet header on.
    pub len: u32,
    /// How many frames it is spread over, in order; at least one.
    pub frames: u16,
    /// What is known about its L4 checksum.
    pub checksum: RxChecksum,
}

/// The packets of one receive burst: `packets` in order, their frames one after another in
/// `frames`. The headers up to and including TCP's must lie in a packet's first frame if they fit.
///
/// The worker owns one burst for each port and reuses it, so a burst costs no allocation.
#[derive(Debug)]
pub struct RxBurst<F> {
    /// The packets, in the order of arrival.
    pub packets: Vec<RxPacket>,
    /// The frames of all packets, in order: the first `packets[0].frames` are the first packet's.
    pub frames: Vec<F>,
}

impl<F> RxBurst<F> {
    /// An empty burst with room for `packets` packets.
    pub fn with_capacity(packets: usize) -> Self {
        Self {
            packets: Vec::with_capacity(packets),
            frames: Vec::with_capacity(packets * 4),
        }
    }
}

/// What the device still has to do to a packet it is given to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffload {
    /// Set when the checksum field holds only the sum of the pseudo-header, with the
    /// L4 length — and the device must add the sum of the segment (TCP only).
    pub tcp_checksum: bool,
    /// TCP payload bytes of each segment to cut the packet into, or 0 to send it as it is.
    pub segment_size: u16,
    /// True for IPv6.
    pub ipv6: bool,
    /// Bytes of the IP header.
    pub l3_len: u8,
    /// Bytes of the TCP header; 0 when the packet is not TCP.
    pub l4_len: u8,
}

/// A packet's headers, ready to send.
#[derive(Clone, Copy, Debug)]
pub struct TxHeader<'a> {
    /// Ethernet, IP and L4 header (or all of a short control packet). At most
    /// [`MAX_HEADER`] bytes.
    pub bytes: &'a [u8],
    /// What is left to the device.
    pub offload: TxOffload,
}

/// The longest [`TxHeader`]: Ethernet, IPv6 and TCP with all its options.
pub const MAX_HEADER: usize = 14 + 40 + 60;

/// A piece of a frame: `len` bytes from byte `offset` of its data.
#[derive(Debug)]
pub struct Piece<'a, F> {
    /// The frame the bytes lie in.
    pub frame: &'a F,
    /// First byte, counted from the start of the frame's data.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

/// Why [`Port::tx_push`] did not take a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxError {
    /// No room in the queue, or no frame for the headers: offer the packet again later.
    Full,
}

/// What a port can do, so that the engine does the rest.
#[derive(Clone, Debug)]
pub struct PortCaps {
    /// Name for logs, e.g. `packet:eth0`.
    pub name: String,
    /// The port's Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet in bytes (without the Ethernet header).
    pub mtu: u16,
    /// The device completes TCP checksums ([`TxOffload::tcp_checksum`]).
    pub tx_tcp_checksum: bool,
    /// Largest IP packet in bytes the device cuts into segments, for IPv4; `None`: it does not.
    pub tso_v4: Option<u32>,
    /// How many pieces a packet may have beside its headers.
    pub max_pieces: usize,
    /// Most packets one [`Port::rx_burst`] returns.
    pub max_burst: usize,
}

/// Counters a device keeps by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets handed to the device.
    pub tx_packets: u64,
    /// Bytes handed to the device.
    pub tx_bytes: u64,
    /// Packets the device lost because its queue was full.
    pub rx_missed: u64,
    /// Packets lost for want of a frame to receive into.
    pub rx_no_frame: u64,
    /// Packets received with an error, or too long for the frames offered.
    pub rx_errors: u64,
    /// Packets the device refused to send (never those that merely had to wait).
    pub tx_errors: u64,
}

/// One queue pair of one NIC, owned by one worker.
pub trait Port {
    /// The frames it fills and sends.
    type Frame: Frame;

    /// What the device can do. Constant while the port is open.
    fn caps(&self) -> &PortCaps;

    /// Whether the link is up, as last seen by the device.
    fn link_up(&self) -> bool {
        true
    }

    /// Appends what has arrived to `burst`, at most [`PortCaps::max_burst`] packets, without
    /// waiting. Returns how many packets were appended.
    fn rx_burst(&mut self, burst: &mut RxBurst<Self::Frame>) -> usize;

    /// How many more packets can be pushed now. The engine asks before it takes work whose
    /// replies it could not send.
    fn tx_room(&mut self) -> usize;

    /// Queues one packet: the header bytes, which are copied, and the payload pieces, whose frames
    /// the port keeps a reference to until the device has let go of them.
    ///
    /// # Errors
    /// [`TxError::Full`] when the packet was not taken.
    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, Self::Frame>>,
    ) -> Result<(), TxError>
    where
        Self::Frame: 'f;

    /// Hands all queued packets to the device. What the device does not take now stays queued and
    /// is offered again at the next flush; nothing is dropped.
    fn tx_flush(&mut self);

    /// Whether packets are queued that the device did not take at the last flush: somebody has to flush
    /// again. A port that cannot tell keeps its worker from sleeping.
    fn tx_waits(&self) -> bool {
        true
    }

    /// The device's own counters. May be slow: not for every turn.
    fn stats(&mut self) -> PortStats;

    /// Frames the port holds: receive buffers it has posted and packets on their way out.
    fn frames_held(&self) -> usize;
}
