//! Cases, and what was measured of them: as a table, a plot of characters, or JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

/// What is measured, in this order.
pub const MOVERS: [&str; 3] = ["mem", "driver", "model"];

/// Which frames are copied, and how much of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    pub hot: bool,
    pub aligned: bool,
    pub size: usize,
}

impl Case {
    /// All of them, up to `largest` bytes.
    pub fn all(largest: usize) -> impl Iterator<Item = Self> {
        let places = [(true, true), (true, false), (false, true), (false, false)];
        let sizes = (8..).map(|power| 1 << power);
        let sizes = sizes.take_while(move |&size| size <= largest);
        places.into_iter().flat_map(move |(hot, aligned)| {
            let sizes = sizes.clone();
            sizes.map(move |size| Self { hot, aligned, size })
        })
    }

    fn place(&self) -> (&'static str, &'static str) {
        (
            if self.hot { "hot" } else { "cold" },
            if self.aligned { "aligned" } else { "unaligned" },
        )
    }
}

/// The median of the rounds, the least and the most.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self {
            median: figures[figures.len() / 2],
            least: figures[0],
            most: figures[figures.len() - 1],
        }
    }
}

/// All figures: nanoseconds a job.
pub struct Report {
    jobs: usize,
    threshold: u32,
    figures: BTreeMap<Case, Vec<[f64; MOVERS.len()]>>,
}

impl Report {
    /// None yet; of turns of `jobs` jobs, for a policy that begins at `threshold` bytes.
    pub fn new(jobs: usize, threshold: u32) -> Self {
        Self {
            jobs,
            threshold,
            figures: BTreeMap::new(),
        }
    }

    /// Adds a round's.
    pub fn add(&mut self, case: &Case, figures: [f64; MOVERS.len()]) {
        self.figures.entry(*case).or_default().push(figures);
    }

    fn spreads(&self, case: &Case) -> [Spread; MOVERS.len()] {
        let rounds = &self.figures[case];
        std::array::from_fn(|mover| Spread::of(rounds.iter().map(|round| round[mover]).collect()))
    }

    fn cases(&self) -> impl Iterator<Item = (Case, [Spread; MOVERS.len()])> {
        // Hot before cold, aligned before unaligned.
        let largest = self.figures.keys().map(|case| case.size).max();
        Case::all(largest.unwrap_or(0)).map(|case| (case, self.spreads(&case)))
    }

    /// From how many bytes on the driver costs the core less than copying does, interpolated between
    /// the sizes that were measured; `None`: from none of them.
    fn break_even(&self, hot: bool, aligned: bool) -> Option<f64> {
        let mut before: Option<(f64, f64)> = None;
        for (case, [mem, driver, _]) in self.cases() {
            if (case.hot, case.aligned) != (hot, aligned) {
                continue;
            }
            let (size, gain) = (case.size as f64, mem.median - driver.median);
            if gain >= 0.0 {
                let (size_before, gain_before) = before.unwrap_or((size, gain));
                let part = if gain > gain_before {
                    -gain_before / (gain - gain_before)
                } else {
                    0.0
                };
                return Some(size_before + part * (size - size_before));
            }
            before = Some((size, gain));
        }
        None
    }

    fn places() -> impl Iterator<Item = Case> {
        Case::all(256)
    }

    /// Everything, for scripts/plots.py.
    pub fn json(&self) -> String {
        let rows: Vec<_> = self
            .cases()
            .map(|(case, spreads)| {
                let (temperature, alignment) = case.place();
                let mut row = json!({
                    "frames": temperature, "alignment": alignment, "size": case.size,
                });
                for (name, spread) in MOVERS.iter().zip(spreads) {
                    row[name] = json!({
                        "median": round(spread.median),
                        "least": round(spread.least),
                        "most": round(spread.most),
                    });
                }
                row
            })
            .collect();
        let break_even: Vec<_> = Self::places()
            .map(|case| {
                let (temperature, alignment) = case.place();
                let bytes = self.break_even(case.hot, case.aligned).map(f64::round);
                json!({ "frames": temperature, "alignment": alignment, "bytes": bytes })
            })
            .collect();
        let rounds = self.figures.values().map(Vec::len).max();
        let all = json!({
            "unit": "ns a job",
            "jobs_a_turn": self.jobs,
            "rounds": rounds,
            "threshold": self.threshold,
            "break_even": break_even,
            "rows": rows,
        });
        format!("{all:#}\n")
    }
}

fn round(ns: f64) -> f64 {
    (ns * 10.0).round() / 10.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ns a job, median (least to most)")?;
        write!(f, "{:22}", "")?;
        for name in MOVERS {
            write!(f, "{name:>26}")?;
        }
        writeln!(f)?;
        for (case, spreads) in self.cases() {
            let (temperature, alignment) = case.place();
            write!(f, "{temperature:<4} {alignment:<9} {:>6} ", case.size)?;
            for spread in spreads {
                let range = format!("({:.0} to {:.0})", spread.least, spread.most);
                write!(f, "{:>9.0} {range:<16}", spread.median)?;
            }
            writeln!(f)?;
        }
        for case in Self::places() {
            let (temperature, alignment) = case.place();
            match self.break_even(case.hot, case.aligned) {
                Some(bytes) => writeln!(
                    f,
                    "{temperature} {alignment}: the driver costs less from {bytes:.0} bytes on"
                )?,
                None => writeln!(f, "{temperature} {alignment}: the driver never costs less")?,
            }
        }
        writeln!(
            f,
            "\neach dot twice the one before, from 8 ns on: m mem, d driver"
        )?;
        for (case, [mem, driver, _]) in self.cases().filter(|(case, _)| case.aligned) {
            let place = |ns: f64| ((4.0 * ns.max(8.0).log2()) as usize - 12).min(47);
            let mut line: Vec<u8> = (0..48)
                .map(|column| if column % 4 == 0 { b'.' } else { b' ' })
                .collect();
            line[place(mem.median)] = b'm';
            line[place(driver.median)] = b'd';
            let (temperature, _) = case.place();
            let line = String::from_utf8_lossy(&line);
            writeln!(f, "{temperature:<4} {:>6} |{line}|", case.size)?;
        }
        Ok(())
    }
}
