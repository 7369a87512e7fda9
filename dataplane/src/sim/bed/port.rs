//! A device that does nothing but keep what it is given, so that counts are the engine's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::port::{
    Frame, MAX_HEADER, Piece, Port, PortCaps, PortStats, RxBurst, RxChecksum, RxPacket, TxError,
    TxHeader,
};

/// Packets of a burst.
const BURST: usize = 32;
/// Packets of the transmit queue.
const QUEUE: usize = 512;

/// A packet that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Its headers.
    pub header: [u8; MAX_HEADER],
    /// Bytes of them.
    pub header_len: usize,
    /// Its frames in [`Device::frames`]: how many.
    pub pieces: usize,
    /// Bytes of its payload.
    pub payload: usize,
}

/// What the device has in its queues.
#[derive(Debug)]
pub struct Device<F> {
    /// Packets that wait to be received, each in its frames.
    pub arrived: VecDeque<Vec<F>>,
    /// Packets that were sent.
    pub sent: Vec<Sent>,
    /// Their payload: frame, first byte, length.
    pub frames: Vec<(F, usize, usize)>,
    /// Vectors to be used again.
    pub spare: Vec<Vec<F>>,
}

/// A port on a [`Device`] that its other end shares.
#[derive(Debug)]
pub struct BedPort<F> {
    caps: PortCaps,
    device: Rc<RefCell<Device<F>>>,
}

impl<F> BedPort<F> {
    /// A port that completes checksums and cuts segments, and verifies what it receives.
    pub fn new(mac: [u8; 6]) -> Self {
        Self {
            caps: PortCaps {
                name: "bed".into(),
                mac,
                mtu: 1500,
                tx_tcp_checksum: true,
                tso_v4: Some(65_535),
                max_pieces: 40,
                max_burst: BURST,
            },
            device: Rc::new(RefCell::new(Device {
                arrived: VecDeque::new(),
                sent: Vec::with_capacity(QUEUE),
                frames: Vec::with_capacity(QUEUE * 40),
                spare: Vec::new(),
            })),
        }
    }

    /// The other end.
    pub fn device(&self) -> Rc<RefCell<Device<F>>> {
        Rc::clone(&self.device)
    }
}

impl<F: Frame> Port for BedPort<F> {
    type Frame = F;

    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn rx_burst(&mut self, burst: &mut RxBurst<F>) -> usize {
        let mut device = self.device.borrow_mut();
        for count in 0..BURST {
            let Some(mut frames) = device.arrived.pop_front() else {
                return count;
            };
            burst.packets.push(RxPacket {
                len: frames.iter().map(|frame| frame.data().len() as u32).sum(),
                frames: frames.len() as u16,
                checksum: RxChecksum::Good,
            });
            burst.frames.append(&mut frames);
            device.spare.push(frames);
        }
        BURST
    }

    fn tx_room(&mut self) -> usize {
        QUEUE - self.device.borrow().sent.len()
    }

    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, F>>,
    ) -> Result<(), TxError>
    where
        F: 'f,
    {
        let mut device = self.device.borrow_mut();
        if device.sent.len() == QUEUE {
            return Err(TxError::Full);
        }
        let mut sent = Sent {
            header: [0; MAX_HEADER],
            header_len: header.bytes.len(),
            pieces: 0,
            payload: 0,
        };
        sent.header[..sent.header_len].copy_from_slice(header.bytes);
        for piece in payload {
            sent.pieces += 1;
            sent.payload += piece.len as usize;
            let (offset, len) = (piece.offset as usize, piece.len as usize);
            device.frames.push((piece.frame.clone(), offset, len));
        }
        device.sent.push(sent);
        Ok(())
    }

    fn tx_flush(&mut self) {}

    fn tx_waits(&self) -> bool {
        false
    }

    fn stats(&mut self) -> PortStats {
        PortStats::default()
    }

    fn frames_held(&self) -> usize {
        self.device.borrow().frames.len()
    }
}
