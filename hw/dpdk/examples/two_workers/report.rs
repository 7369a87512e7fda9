//! Figures of measurements, and their ratios.

use std::collections::BTreeMap;
use std::fmt;

use dataplane::port::{FrameClass, FramePool};
use dpdk::MbufPool;
use serde_json::json;

use crate::plan::{BODIES, CONNECTIONS, Options, Variant};

/// What one worker did in one measurement.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Ticks a request, of each slice.
    slices: Vec<f64>,
    ticks: u64,
    requests: u64,
    /// Turns that found something.
    pub turns: u64,
    /// Ticks of turns that found nothing.
    pub idle_ticks: u64,
    /// Packets handed over to the other worker.
    pub handed_over: u64,
    /// Segments sent again.
    pub repeats: u64,
    /// How often the kernel had something else to do on this core.
    pub interruptions: u64,
}

impl Figures {
    /// Adds a slice.
    pub fn add(&mut self, ticks: u64, requests: u64) {
        self.slices.push(ticks as f64 / requests as f64);
        self.ticks += ticks;
        self.requests += requests;
    }

    /// Whether there is anything to tell a rate from.
    pub fn has_slices(&self) -> bool {
        !self.slices.is_empty()
    }

    /// Requests a second of turns: by the median slice, and by all of them.
    fn rates(&self, hz: u64) -> (f64, f64) {
        assert!(
            !self.slices.is_empty(),
            "no slice: longer measurements (--ms)"
        );
        let mean = hz as f64 * self.requests as f64 / self.ticks as f64;
        (hz as f64 / median(self.slices.clone()), mean)
    }
}

/// A worker's rate, and what belongs to it.
#[derive(Clone, Copy, Debug)]
struct Rate {
    median: f64,
    mean: f64,
    requests_a_turn: f64,
    handed_over: f64,
    idle: f64,
    repeats: u64,
    interruptions: u64,
}

/// The median; of an even number, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values[values.len() / 2];
    if values.len() % 2 == 1 {
        upper
    } else {
        (upper + values[values.len() / 2 - 1]) / 2.0
    }
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    hz: u64,
    ms: u64,
    cpus: String,
    eal: String,
    mover: &'static str,
    /// For each body, variant and worker, round after round.
    rates: BTreeMap<(usize, Variant, usize), Vec<Rate>>,
}

impl Report {
    pub fn new(options: &Options, hz: u64) -> Self {
        Self {
            hz,
            ms: options.ms,
            cpus: options.cpus.clone(),
            eal: options.eal.clone(),
            mover: if options.zero_copy {
                "zero-copy"
            } else {
                "mem"
            },
            rates: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, body: usize, variant: Variant, worker: usize, figures: Figures) {
        let (median, mean) = figures.rates(self.hz);
        let requests = figures.requests.max(1) as f64;
        let rate = Rate {
            median,
            mean,
            requests_a_turn: requests / figures.turns.max(1) as f64,
            handed_over: figures.handed_over as f64 / requests,
            idle: figures.idle_ticks as f64 / (figures.ticks + figures.idle_ticks) as f64,
            repeats: figures.repeats,
            interruptions: figures.interruptions,
        };
        let rounds = self.rates.entry((body, variant, worker)).or_default();
        rounds.push(rate);
    }

    /// A worker's rates of all rounds.
    fn of(&self, body: usize, variant: Variant, worker: usize) -> &[Rate] {
        &self.rates[&(body, variant, worker)]
    }

    /// Round after round: what one worker does (the mean of both cores), and both together.
    fn pairs(&self, body: usize, one: fn(usize) -> Variant, two: Variant) -> Vec<[f64; 2]> {
        let rounds = self.of(body, two, 0).len();
        let rate = |variant, worker, round: usize| self.of(body, variant, worker)[round].median;
        (0..rounds)
            .map(|round| {
                let one = (rate(one(0), 0, round) + rate(one(1), 1, round)) / 2.0;
                [one, rate(two, 0, round) + rate(two, 1, round)]
            })
            .collect()
    }

    fn rows(&self) -> Vec<Row> {
        let alone: fn(usize) -> Variant = |worker| Variant::Alone { worker };
        let beside: fn(usize) -> Variant = |worker| Variant::BesideLoad { worker };
        let looped: fn(usize) -> Variant = |worker| Variant::LoopAlone { worker };
        let mut rows = Vec::new();
        for (body, &(bytes, _)) in BODIES.iter().enumerate() {
            for (name, one, two) in [
                ("steered", alone, Variant::Steered),
                ("steered, beside load", beside, Variant::Steered),
                ("half of the packets stray", alone, Variant::Strays),
                ("a loop that shares nothing", looped, Variant::LoopTwice),
            ] {
                let pairs = self.pairs(body, one, two);
                let mut ratios: Vec<f64> = pairs.iter().map(|[one, two]| two / one).collect();
                ratios.sort_by(f64::total_cmp);
                let both = [0, 1].map(|worker| self.of(body, two, worker));
                let each = |value: fn(&Rate) -> f64| {
                    median(both.iter().copied().flatten().map(value).collect())
                };
                let mean_of = |worker: usize, variant| {
                    median(
                        self.of(body, variant, worker)
                            .iter()
                            .map(|r| r.mean)
                            .collect(),
                    )
                };
                let means = mean_of(0, two) + mean_of(1, two);
                let one_mean = (mean_of(0, one(0)) + mean_of(1, one(1))) / 2.0;
                rows.push(Row {
                    name,
                    body: bytes,
                    one: median(pairs.iter().map(|pair| pair[0]).collect()),
                    two: median(pairs.iter().map(|pair| pair[1]).collect()),
                    workers: both
                        .map(|rates| median(rates.iter().map(|rate| rate.median).collect())),
                    ratio: median(ratios.clone()),
                    least: ratios[0],
                    most: ratios[ratios.len() - 1],
                    ratio_of_means: means / one_mean,
                    requests_a_turn: each(|rate| rate.requests_a_turn),
                    handed_over: each(|rate| rate.handed_over),
                    idle: each(|rate| rate.idle),
                    repeats: both
                        .iter()
                        .copied()
                        .flatten()
                        .map(|rate| rate.repeats)
                        .sum(),
                    interruptions: both
                        .iter()
                        .copied()
                        .flatten()
                        .map(|r| r.interruptions)
                        .sum(),
                });
            }
        }
        rows
    }

    /// Everything, for scripts/two_workers.py.
    pub fn json(&self) -> String {
        let rows = self.rows().into_iter().map(|row| {
            json!({
                "name": row.name,
                "body": row.body,
                "one": row.one.round(),
                "two": row.two.round(),
                "workers": row.workers.map(f64::round),
                "ratio": rounded(row.ratio),
                "ratio_least": rounded(row.least),
                "ratio_most": rounded(row.most),
                "ratio_of_means": rounded(row.ratio_of_means),
                "requests_a_turn": rounded(row.requests_a_turn),
                "handed_over_a_request": rounded(row.handed_over),
                "idle": rounded(row.idle),
                "repeats": row.repeats,
                "interruptions": row.interruptions,
            })
        });
        let rounds = self.rates.values().map(Vec::len).max();
        let single = self.rates.iter().map(|(&(body, variant, worker), rates)| {
            json!({
                "body": BODIES[body].0,
                "variant": format!("{variant:?}"),
                "worker": worker,
                "rates": rates.iter().map(|rate| rate.median.round()).collect::<Vec<_>>(),
            })
        });
        let all = json!({
            "connections": CONNECTIONS,
            "rounds": rounds,
            "ms": self.ms,
            "cpus": self.cpus,
            "eal": self.eal,
            "mover": self.mover,
            "siblings": siblings(),
            "ticks_per_second": self.hz,
            "rows": rows.collect::<Vec<_>>(),
            "single": single.collect::<Vec<_>>(),
        });
        format!("{all:#}\n")
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// One line of the table: two workers beside one.
struct Row {
    name: &'static str,
    body: usize,
    one: f64,
    two: f64,
    workers: [f64; 2],
    ratio: f64,
    least: f64,
    most: f64,
    ratio_of_means: f64,
    requests_a_turn: f64,
    handed_over: f64,
    idle: f64,
    repeats: u64,
    interruptions: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "CPUs {}; threads of the first one's core: {}",
            self.cpus,
            siblings()
        )?;
        for row in self.rows() {
            writeln!(
                f,
                "{:>6} B {:28} one {:8.0}/s, two {:8.0}/s ({:.0} + {:.0}): {:.2} times ({:.2}-{:.2}, by means \
                 {:.2}); {:.1} requests a turn, {:.1} packets handed over each, {:.0} % of turns' time idle, {} repeats, \
                 {} interruptions",
                row.body,
                row.name,
                row.one,
                row.two,
                row.workers[0],
                row.workers[1],
                row.ratio,
                row.least,
                row.most,
                row.ratio_of_means,
                row.requests_a_turn,
                row.handed_over,
                100.0 * row.idle,
                row.repeats,
                row.interruptions,
            )?;
        }
        Ok(())
    }
}

/// The CPUs that are threads of CPU 0's core, as far as the kernel knows.
fn siblings() -> String {
    let path = "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
    std::fs::read_to_string(path).map_or("unknown".into(), |text| text.trim().to_owned())
}

/// How often the kernel took the core from this thread.
pub fn interruptions() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// Frames of both classes that are not in the pool.
pub fn missing(pool: &MbufPool) -> u32 {
    let classes = [FrameClass::Small, FrameClass::Large];
    let levels = classes.map(|class| pool.level(class));
    levels.iter().map(|level| level.total - level.free).sum()
}
