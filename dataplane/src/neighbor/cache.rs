//! Which Ethernet address an IP address has, and what is being done to find out.
//!
//! The states are those of RFC 4861 section 7.3.2, used for ARP as well. `DELAY` is left out: a
//! stale neighbour that is used is asked at once.
//!
//! The table has a fixed size, so something has to give way when a network has more addresses than
//! that, or when somebody pretends it has. Entries that rest on an answer to a question of ours
//! (`confirmed`) and the others (`unconfirmed`: no answer yet, or only somebody's word) are kept in
//! two lists in order of age. When the table is full the oldest unconfirmed entry goes, as long as
//! they are more than a quarter of it, and otherwise the oldest confirmed one. So no flood of invented
//! addresses takes more than a quarter of the table from neighbours that exist.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::flow_table::{ConnId, FlowKey, FlowTable};
use crate::settings::PortId;
use crate::timer_wheel::{Progress, TimerId, TimerWheel};

/// Entries beside the configured ones.
pub(super) const CAPACITY: usize = 1024;
/// How long an answer holds, in ms: REACHABLE_TIME of RFC 4861 section 10.
pub(super) const REACHABLE: u64 = 30_000;
/// How long an entry that nobody uses is kept after that, in ms.
pub(super) const STALE: u64 = 600_000;
/// Questions to a neighbour that answered before: MAX_UNICAST_SOLICIT of RFC 4861 section 10.
pub(super) const PROBES: u8 = 3;
/// Between two of them, and the most between two questions to everybody, in ms: RETRANS_TIMER of
/// RFC 4861 section 10, and what RFC 1122 section 2.3.2.1 recommends as the limit for ARP.
pub(super) const RETRANS: u64 = 1_000;
/// After the first question to everybody, in ms; doubled after each until `RETRANS`.
pub(super) const FIRST_RETRANS: u64 = 100;
/// How long after the last interest the questions go on, in ms.
pub(super) const INTEREST: u64 = 10_000;

pub(super) type Mac = [u8; 6];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Configured; never changes.
    Fixed,
    /// Not known. Everybody has been asked `tries` times; last wanted at `wanted`.
    Incomplete { tries: u8, wanted: u64 },
    /// It answered; the timer ends that.
    Reachable,
    /// Known, but not sure any more (or not yet); the timer removes it.
    Stale,
    /// Known and in use, but not sure; it has been asked `tries` times.
    Probing { tries: u8 },
}

#[derive(Clone, Copy)]
struct Entry {
    address: IpAddr,
    /// Meaningless while `Incomplete`.
    mac: Mac,
    state: State,
    /// Whether it was looked up since it was last confirmed or probed.
    used: bool,
}

/// Where a claim that an address has a certain MAC comes from, from strong to weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// An answer sent to us. `replace`: it may replace a MAC that is known.
    Answer { replace: bool },
    /// Said to everybody. `replace`: it may replace a MAC that is known.
    Announcement { replace: bool },
    /// Somebody asks for an address of ours and says who he is.
    Request,
    /// The source addresses of an IP packet.
    Packet,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// Not believed, or nobody asked.
    Refused,
    /// Nothing new.
    Nothing,
    /// The MAC was unknown, or another, until now.
    Known,
}

/// A question to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) address: IpAddr,
    /// The neighbour to ask, or everybody.
    pub(super) to: Option<Mac>,
}

pub(super) struct Cache {
    /// From address to entry: an entry is looked up as the flow from nowhere to its address.
    index: FlowTable,
    entries: Box<[Entry]>,
    /// One timer for each entry.
    wheel: TimerWheel,
    lists: Lists,
    /// Entries that fired in this poll.
    due: Vec<TimerId>,
}

impl Cache {
    pub(super) fn new(fixed: &[(IpAddr, Mac)], seed: u64, now: u64) -> Self {
        let capacity = CAPACITY + fixed.len();
        let unused = Entry {
            address: Ipv4Addr::UNSPECIFIED.into(),
            mac: [0; 6],
            state: State::Stale,
            used: false,
        };
        let mut cache = Self {
            index: FlowTable::new(capacity, seed),
            entries: vec![unused; capacity].into(),
            wheel: TimerWheel::new(capacity, now),
            lists: Lists::new(capacity),
            due: Vec::with_capacity(capacity),
        };
        for (i, &(address, mac)) in fixed.iter().enumerate() {
            cache.entries[i] = Entry {
                address,
                mac,
                state: State::Fixed,
                used: false,
            };
            // The table has room for all, so this cannot fail. Of two entries the last holds.
            let _ = cache.index.insert(key(address), ConnId(i as u32));
        }
        for i in fixed.len()..capacity {
            cache.lists.push(List::Unused, i);
        }
        cache
    }

    /// The MAC of a neighbour, if it is known.
    #[inline]
    pub(super) fn lookup(&mut self, address: IpAddr) -> Option<Mac> {
        let i = self.find(address)?;
        let entry = &mut self.entries[i];
        match entry.state {
            State::Incomplete { .. } => return None,
            State::Stale => {
                entry.state = State::Probing { tries: 0 };
                self.wheel.arm(TimerId(i as u32), 0);
            }
            State::Fixed | State::Reachable | State::Probing { .. } => (),
        }
        entry.used = true;
        Some(entry.mac)
    }

    /// Asks for a neighbour until `INTEREST` from now, unless it is known.
    pub(super) fn want(&mut self, address: IpAddr, now: u64) {
        match self.find(address) {
            None => {
                let _ = self.create(
                    address,
                    State::Incomplete {
                        tries: 0,
                        wanted: now,
                    },
                    now,
                );
            }
            Some(i) => {
                if let State::Incomplete { wanted, .. } = &mut self.entries[i].state {
                    *wanted = now;
                }
            }
        }
    }

    /// Weighs a claim, by RFC 4861 section 7.2.5 for announcements and answers and section 7.2.3 for
    /// requests. Stricter than these, an answer to no question is refused when it contradicts.
    pub(super) fn learn(
        &mut self,
        address: IpAddr,
        mac: Mac,
        evidence: Evidence,
        now: u64,
    ) -> Learned {
        let Some(i) = self.find(address) else {
            if !matches!(evidence, Evidence::Request | Evidence::Packet) {
                return Learned::Refused;
            }
            let i = self.create(address, State::Stale, now + STALE);
            self.entries[i].mac = mac;
            return Learned::Known;
        };
        let entry = self.entries[i];
        let known = !matches!(entry.state, State::Incomplete { .. });
        let asked = !known || matches!(entry.state, State::Probing { .. });
        let same = known && entry.mac == mac;
        match evidence {
            _ if entry.state == State::Fixed => {
                if same {
                    Learned::Nothing
                } else {
                    Learned::Refused
                }
            }
            Evidence::Answer { replace } if asked && (same || replace || !known) => {
                self.entries[i].mac = mac;
                self.become_reachable(i, now);
                if same {
                    Learned::Nothing
                } else {
                    Learned::Known
                }
            }
            _ if same => Learned::Nothing,
            Evidence::Answer { .. } if known => Learned::Refused,
            Evidence::Packet if known => Learned::Refused,
            Evidence::Announcement { replace: false } if known => {
                // It is somewhere else too: worth a question, as soon as it is used.
                if entry.state == State::Reachable {
                    self.become_stale(i, now);
                }
                Learned::Refused
            }
            _ => {
                self.entries[i].mac = mac;
                self.become_stale(i, now);
                Learned::Known
            }
        }
    }

    /// Sends the questions that are due, at most `budget`. Returns how many there were.
    pub(super) fn poll(&mut self, now: u64, budget: usize, mut ask: impl FnMut(Question)) -> usize {
        let mut due = std::mem::take(&mut self.due);
        // What the budget leaves goes on in the next poll.
        let _: Progress = self
            .wheel
            .expire(now, budget.min(due.capacity()), |id| due.push(id));
        let mut asked = 0;
        for id in due.drain(..) {
            if let Some(question) = self.fire(id.0 as usize, now) {
                ask(question);
                asked += 1;
            }
        }
        self.due = due;
        asked
    }

    /// A time before which no question is due; `None` when none ever is.
    pub(super) fn next_visit(&self) -> Option<u64> {
        self.wheel.next_visit()
    }

    /// The timer of an entry has fired: what its state says is due.
    fn fire(&mut self, i: usize, now: u64) -> Option<Question> {
        let entry = self.entries[i];
        let (state, to) = match entry.state {
            State::Fixed => return None,
            State::Reachable if !entry.used => {
                self.become_stale(i, now);
                return None;
            }
            State::Incomplete { wanted, .. } if now >= wanted + INTEREST => {
                self.remove(i);
                return None;
            }
            State::Probing { tries: PROBES } if !entry.used => {
                self.remove(i);
                return None;
            }
            State::Stale => {
                self.remove(i);
                return None;
            }
            State::Incomplete { tries, wanted } => (
                State::Incomplete {
                    tries: tries.saturating_add(1),
                    wanted,
                },
                None,
            ),
            State::Probing { tries: PROBES } => {
                self.lists.push(List::Unconfirmed, i);
                (
                    State::Incomplete {
                        tries: 1,
                        wanted: now,
                    },
                    None,
                )
            }
            State::Probing { tries } => (State::Probing { tries: tries + 1 }, Some(entry.mac)),
            State::Reachable => {
                self.entries[i].used = false;
                (State::Probing { tries: 1 }, Some(entry.mac))
            }
        };
        let pause = match state {
            State::Incomplete { tries, .. } => (FIRST_RETRANS << (tries - 1).min(10)).min(RETRANS),
            _ => RETRANS,
        };
        self.entries[i].state = state;
        self.wheel.arm(TimerId(i as u32), now + pause);
        Some(Question {
            address: entry.address,
            to,
        })
    }

    fn find(&self, address: IpAddr) -> Option<usize> {
        self.index.get(&key(address)).map(|id| id.0 as usize)
    }

    fn become_reachable(&mut self, i: usize, now: u64) {
        self.entries[i].state = State::Reachable;
        self.entries[i].used = false;
        self.lists.push(List::Confirmed, i);
        self.wheel.arm(TimerId(i as u32), now + REACHABLE);
    }

    /// The entry keeps its place in its list: it is as old as its last confirmation.
    fn become_stale(&mut self, i: usize, now: u64) {
        self.entries[i].state = State::Stale;
        self.entries[i].used = false;
        self.wheel.arm(TimerId(i as u32), now + STALE);
    }

    /// Enters an unconfirmed address, if need be in place of another.
    fn create(&mut self, address: IpAddr, state: State, timer: u64) -> usize {
        let i = self.lists.oldest(List::Unused).unwrap_or_else(|| {
            let crowded = self.lists.len(List::Unconfirmed) > CAPACITY / 4;
            let list = if crowded {
                List::Unconfirmed
            } else {
                List::Confirmed
            };
            let other = if crowded {
                List::Confirmed
            } else {
                List::Unconfirmed
            };
            let oldest = self.lists.oldest(list).or(self.lists.oldest(other));
            let i = oldest.expect("an entry is in one of the three lists unless it is fixed");
            self.remove(i);
            i
        });
        self.entries[i] = Entry {
            address,
            mac: [0; 6],
            state,
            used: false,
        };
        // There is a flow of capacity for each entry, so this cannot fail.
        let _ = self.index.insert(key(address), ConnId(i as u32));
        self.lists.push(List::Unconfirmed, i);
        self.wheel.arm(TimerId(i as u32), timer);
        i
    }

    fn remove(&mut self, i: usize) {
        let _ = self.index.remove(&key(self.entries[i].address));
        self.wheel.disarm(TimerId(i as u32));
        self.lists.push(List::Unused, i);
    }
}

fn key(address: IpAddr) -> FlowKey {
    match address {
        IpAddr::V4(a) => FlowKey::v4(PortId(0), (Ipv4Addr::UNSPECIFIED, 0), (a, 0)),
        IpAddr::V6(a) => FlowKey::v6(PortId(0), (Ipv6Addr::UNSPECIFIED, 0), (a, 0)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Unused,
    Unconfirmed,
    Confirmed,
}

/// Three circular lists through one array; their heads come after the entries.
struct Lists {
    links: Box<[Link]>,
    len: [usize; 3],
}

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    list: Option<List>,
}

impl Lists {
    fn new(entries: usize) -> Self {
        let link = |i| Link {
            next: i,
            previous: i,
            list: None,
        };
        Self {
            links: (0..entries as u32 + 3).map(link).collect(),
            len: [0; 3],
        }
    }

    fn head(&self, list: List) -> usize {
        self.links.len() - 3 + list as usize
    }

    fn len(&self, list: List) -> usize {
        self.len[list as usize]
    }

    fn oldest(&self, list: List) -> Option<usize> {
        let head = self.head(list);
        let first = self.links[head].next as usize;
        (first != head).then_some(first)
    }

    /// Takes an entry out of its list and puts it at the young end of another or the same.
    fn push(&mut self, list: List, i: usize) {
        let Link {
            next,
            previous,
            list: old,
        } = self.links[i];
        if let Some(old) = old {
            self.links[previous as usize].next = next;
            self.links[next as usize].previous = previous;
            self.len[old as usize] -= 1;
        }
        let head = self.head(list);
        let last = self.links[head].previous;
        self.links[i] = Link {
            next: head as u32,
            previous: last,
            list: Some(list),
        };
        self.links[last as usize].next = i as u32;
        self.links[head].previous = i as u32;
        self.len[list as usize] += 1;
    }
}
