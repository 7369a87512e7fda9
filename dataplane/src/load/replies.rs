//! The origin's answers, each written once a second into a frame: head, and as much of the body as fits
//! behind it. Sending one again costs a reference.

use super::frames::{Shared, class_for, fill};
use super::reply::Answer;
use super::request::Asked;
use crate::http1::Version;
use crate::port::{Frame, FramePool};

/// Answers that are kept; the one that was made first makes room for another.
const KEPT: usize = 16;

#[derive(Debug)]
struct Reply<F> {
    answer: Answer,
    version: Version,
    /// Its `Date`, if the time is known.
    date: Option<[u8; 29]>,
    /// Bytes of all of it in the frame, and of body among them.
    len: u32,
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
    /// A frame with the answer to `asked`: it, how many bytes are in it, and how many of them are body.
    /// `None` when there is no frame for it.
    pub fn get<L: FramePool<Frame = F>>(
        &mut self,
        pool: &mut L,
        asked: &Asked,
        answer: Answer,
        date: Option<&[u8]>,
    ) -> Option<(F, u32, u32)> {
        let version = asked.version;
        let same = |kept: &Reply<F>| kept.answer == answer && kept.version == version;
        let found = self.kept.iter().position(same);
        let index = match found {
            Some(index) if self.kept[index].date.as_ref().map(|d| &d[..]) == date => index,
            _ => {
                let reply = self.write(pool, asked, answer, date)?;
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
        let Reply {
            frame, len, inline, ..
        } = &mut self.kept[index];
        let frame = frame.share(pool, class_for(u64::from(*len)))?;
        Some((frame, *len, *inline))
    }

    /// Frames kept.
    pub fn frames(&self) -> usize {
        self.kept.len()
    }

    fn write<L: FramePool<Frame = F>>(
        &mut self,
        pool: &mut L,
        asked: &Asked,
        answer: Answer,
        date: Option<&[u8]>,
    ) -> Option<Reply<F>> {
        let text = &mut self.text;
        text.clear();
        answer.write_head(asked, date, text);
        let whole = answer.sent.saturating_add(text.len() as u64);
        let mut frame = pool.alloc(class_for(whole))?;
        let len = whole.min(frame.capacity() as u64) as usize;
        let room = frame.room_mut()?;
        room[..text.len()].copy_from_slice(text);
        fill(0, &mut room[text.len()..len]);
        frame.set_len(len);
        Some(Reply {
            answer,
            version: asked.version,
            date: date.and_then(|date| date.try_into().ok()),
            len: len as u32,
            inline: (len - text.len()) as u32,
            frame: Shared::new(frame),
        })
    }
}
