//! The origin's answers, each written once a second into a frame: head, and as much of the body as fits
//! behind it. Sending one again costs a reference.

use super::pattern::Table;
use super::shared::Shared;
use crate::http1::token::push_decimal;
use crate::port::{Frame, FrameClass, FramePool};

/// Answers that are kept; the one that was made first makes room for another.
const KEPT: usize = 16;

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// 200 with so many bytes of body, or another status without.
    pub status: u16,
    /// Bytes.
    pub size: u64,
    /// The connection ends with it.
    pub close: bool,
}

#[derive(Debug)]
struct Reply<F> {
    answer: Answer,
    /// Its `Date`, if the time is known.
    date: Option<[u8; 29]>,
    head: u32,
    /// Bytes of body behind the head.
    inline: u32,
    frame: Shared<F>,
}

/// The answers that are kept.
#[derive(Debug)]
pub(super) struct Replies<F> {
    kept: Vec<Reply<F>>,
    next: usize,
    text: Vec<u8>,
}

impl<F> Default for Replies<F> {
    fn default() -> Self {
        Self {
            kept: Vec::with_capacity(KEPT),
            next: 0,
            text: Vec::with_capacity(512),
        }
    }
}

impl<F: Frame> Replies<F> {
    /// A frame with an answer: it, the bytes of its head, and of the body behind it. `None` when there is
    /// no frame for it.
    pub fn get<L: FramePool<Frame = F>>(
        &mut self,
        pool: &mut L,
        table: &Table,
        answer: Answer,
        date: Option<&[u8]>,
    ) -> Option<(F, u32, u32)> {
        let found = self.kept.iter().position(|kept| kept.answer == answer);
        let index = match found {
            Some(index) if self.kept[index].date.as_ref().map(|d| &d[..]) == date => index,
            _ => {
                let reply = self.write(pool, table, answer, date)?;
                match found {
                    Some(index) => {
                        self.kept[index] = reply;
                        index
                    }
                    None if self.kept.len() < KEPT => {
                        self.kept.push(reply);
                        self.kept.len() - 1
                    }
                    None => {
                        self.next = (self.next + 1) % KEPT;
                        self.kept[self.next] = reply;
                        self.next
                    }
                }
            }
        };
        let reply = &mut self.kept[index];
        let frame = reply
            .frame
            .share(pool, class_for(reply.head + reply.inline))?;
        Some((frame, reply.head, reply.inline))
    }

    /// Frames kept.
    pub fn frames(&self) -> usize {
        self.kept.len()
    }

    fn write<L: FramePool<Frame = F>>(
        &mut self,
        pool: &mut L,
        table: &Table,
        answer: Answer,
        date: Option<&[u8]>,
    ) -> Option<Reply<F>> {
        let text = &mut self.text;
        text.clear();
        text.extend_from_slice(match answer.status {
            200 => b"HTTP/1.1 200 OK\r\n",
            404 => b"HTTP/1.1 404 Not Found\r\n",
            _ => b"HTTP/1.1 400 Bad Request\r\n",
        });
        text.extend_from_slice(b"Server: minivoy-load\r\n");
        if let Some(date) = date {
            text.extend_from_slice(b"Date: ");
            text.extend_from_slice(date);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"Content-Type: application/octet-stream\r\nContent-Length: ");
        push_decimal(text, answer.size);
        text.extend_from_slice(b"\r\n");
        if answer.close {
            text.extend_from_slice(b"Connection: close\r\n");
        }
        text.extend_from_slice(b"\r\n");
        let whole = answer.size.saturating_add(text.len() as u64);
        let mut frame = pool.alloc(class_for(u32::try_from(whole).unwrap_or(u32::MAX)))?;
        let len = whole.min(frame.capacity() as u64) as usize;
        let room = frame.room_mut()?;
        room[..text.len()].copy_from_slice(text);
        table.fill(0, &mut room[text.len()..len]);
        frame.set_len(len);
        Some(Reply {
            answer,
            date: date.and_then(|date| date.try_into().ok()),
            head: text.len() as u32,
            inline: (len - text.len()) as u32,
            frame: Shared::new(frame),
        })
    }
}

fn class_for(bytes: u32) -> FrameClass {
    if bytes <= 2048 {
        FrameClass::Small
    } else {
        FrameClass::Large
    }
}
