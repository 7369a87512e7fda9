//! One lcore: its workers, each in its bed, and what it does in each step of the plan.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::OnceLock;

use dataplane::counters::{Counter, Drop};
use dataplane::sim::bed::{Bed, RING, Setup};
use dataplane::tcp::RingSource;
use dpdk::{MbufPool, ticks};
use hugepage::FillerRings;

use crate::plan::{BODIES, CONNECTIONS, Kind, Plan, Task, Variant};
use crate::report::{Figures, interruptions};

/// Requests of a slice, at least.
const SLICE: u64 = 48;
/// Parts of a measurement before its beginning in which caches get warm.
const WARM_UP: u64 = 5;

/// Ticks of a microsecond, for clocks that are plain functions.
static TICKS_PER_MICRO: OnceLock<u64> = OnceLock::new();

fn micros() -> u64 {
    ticks() / TICKS_PER_MICRO.get().copied().unwrap_or(1000)
}

/// Rings as minivoy has them: all pairs of a worker are the same few pages.
struct Rings(FillerRings);

impl RingSource for Rings {
    fn pair(&mut self) -> Option<(&'static mut [u8], &'static mut [u8])> {
        self.0.pair().ok()
    }
}

fn rings() -> Box<dyn RingSource> {
    // SAFETY: they go to an engine, which shows its sockets zeros and nothing else.
    let rings = unsafe { FillerRings::new(RING, false) };
    Box::new(Rings(rings.expect("memory for rings")))
}

/// What an lcore has.
pub struct Lane {
    index: usize,
    plan: Arc<Plan>,
    pool: MbufPool,
}

impl Lane {
    pub fn new(index: usize, plan: Arc<Plan>, pool: MbufPool) -> Self {
        let _ = TICKS_PER_MICRO.set(plan.hz / 1_000_000);
        Self { index, plan, pool }
    }

    /// The whole plan.
    pub fn run(&mut self) {
        for body in 0..BODIES.len() {
            let mut beds = Kind::ALL.map(|kind| self.bed(kind, body));
            for _ in 0..self.plan.options.rounds {
                for variant in Variant::ALL {
                    self.step(&mut beds, body, variant);
                }
            }
            for bed in &beds {
                // What a full mailbox drops is lost, and no host here sends again.
                assert_eq!(bed.counters()[Drop::MailboxFull], 0);
            }
        }
    }

    fn bed(&self, kind: Kind, body: usize) -> Bed<MbufPool> {
        let (team, network) = self.plan.place(kind, body, self.index);
        let mut bed = Bed::new(Setup {
            connections: CONNECTIONS,
            body: BODIES[body].0,
            zero_copy: self.plan.options.zero_copy,
            merged: false,
            under_way: BODIES[body].1,
            pool: self.pool.clone(),
            rings: rings(),
            team,
            network,
            ticks,
            micros: Some(micros),
            seed: 7 + self.index as u64,
        });
        self.plan.meet();
        bed.open(CONNECTIONS);
        self.leave(&mut bed);
        bed
    }

    /// Serves until the other has come as far: it may need packets that this one hands over.
    fn leave(&self, bed: &mut Bed<MbufPool>) {
        while bed.open_exchanges() > 0 {
            let _ = bed.step();
        }
        self.plan.finish();
        while !self.plan.all_finished() {
            let _ = bed.step();
        }
    }

    fn step(&self, beds: &mut [Bed<MbufPool>; 3], body: usize, variant: Variant) {
        let task = variant.task(self.index);
        self.plan.meet();
        let before = interruptions();
        let figures = match task {
            Task::Rest => None,
            Task::Waste => {
                while !self.plan.is_over() {
                    beds[0].waste();
                }
                None
            }
            Task::Loop => Some(self.idle_loop()),
            Task::Work(kind) => {
                let bed = &mut beds[kind as usize];
                let figures = self.measure(bed);
                match variant {
                    Variant::Steered | Variant::Strays => self.leave(bed),
                    _ => {
                        self.plan.set_over();
                        while bed.open_exchanges() > 0 {
                            let _ = bed.step();
                        }
                    }
                }
                Some(figures)
            }
        };
        if let Some(mut figures) = figures {
            figures.interruptions = interruptions() - before;
            self.plan.note(body, variant, self.index, figures);
        }
    }

    /// Runs a worker for as long as a measurement takes, with the turns timed.
    fn measure(&self, bed: &mut Bed<MbufPool>) -> Figures {
        let length = self.plan.options.ms * self.plan.hz / 1000;
        let begin = ticks() + length / WARM_UP;
        while ticks() < begin {
            bed.request();
            let _ = bed.step();
        }
        let mut figures = Figures::default();
        let (mut spent, mut since) = (0, bed.counters()[Counter::Requests]);
        let handed = bed.counters()[Counter::HandedOver];
        let repeats = bed.repeats();
        loop {
            bed.request();
            let before = ticks();
            let turn = bed.turn(before);
            let after = ticks();
            bed.answer();
            if !turn.busy {
                figures.idle_ticks += after - before;
            } else {
                figures.turns += 1;
                spent += after - before;
                let requests = bed.counters()[Counter::Requests];
                if requests - since >= SLICE {
                    figures.add(spent, requests - since);
                    (spent, since) = (0, requests);
                }
            }
            // One that was interrupted all the time goes on until it has something to tell.
            if after.saturating_sub(begin) > length && figures.has_slices() {
                break;
            }
        }
        figures.handed_over = bed.counters()[Counter::HandedOver] - handed;
        figures.repeats = bed.repeats() - repeats;
        figures
    }

    /// Arithmetic and copies within the nearest caches.
    fn idle_loop(&self) -> Figures {
        let length = self.plan.options.ms * self.plan.hz / 1000 / 3;
        let (from, mut to) = (vec![1_u64; 1024], vec![0_u64; 1024]);
        let mut sums = [1_u64, 2, 3, 4];
        let mut figures = Figures::default();
        let begin = ticks();
        loop {
            let before = ticks();
            for _ in 0..16 {
                to.copy_from_slice(black_box(&from));
                for &word in black_box(&to) {
                    for sum in &mut sums {
                        *sum = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(word);
                    }
                }
            }
            let after = ticks();
            let _ = black_box(sums);
            figures.add(after - before, 1);
            if after - begin > length {
                return figures;
            }
        }
    }
}
