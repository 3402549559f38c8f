//! How far figures can be believed: what the machine is, what else it did meanwhile, and how much repeats differ.

use std::fs;

use serde::Serialize;

/// The unit of `/proc/stat`: USER_HZ is 100 on every architecture of Linux that matters here.
const TICK_SECONDS: f64 = 0.01;

/// Times of some processors since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SystemTimes {
    /// Seconds spent on anything.
    pub busy: f64,
    /// Seconds that a hypervisor gave to somebody else.
    pub steal: f64,
}

impl SystemTimes {
    /// Those of these processors; of all if there are none. `None` where the system does not say.
    pub(crate) fn of(processors: &[usize]) -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?, processors)
    }

    fn parse(text: &str, processors: &[usize]) -> Option<Self> {
        let mut sum = None;
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let number = match fields.next().and_then(|name| name.strip_prefix("cpu")) {
                Some("") => continue,
                Some(number) => number.parse().ok()?,
                None => continue,
            };
            if !processors.is_empty() && !processors.contains(&number) {
                continue;
            }
            let times: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
            let [user, nice, system, _idle, _iowait, irq, softirq, steal] = *times.first_chunk::<8>()?;
            let so_far: &mut Self = sum.get_or_insert_default();
            so_far.busy += (user + nice + system + irq + softirq) * TICK_SECONDS;
            so_far.steal += steal * TICK_SECONDS;
        }
        sum
    }

    /// What was added since.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { busy: self.busy - earlier.busy, steal: self.steal - earlier.steal }
    }
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's model.
    pub processor: String,
    /// Processors the system has.
    pub processors: usize,
    /// Processors this process may run on.
    pub allowed: Vec<usize>,
    /// The system and its release.
    pub system: String,
}

impl Machine {
    /// This one, as far as it says.
    pub fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let uname = rustix::system::uname();
        let [name, release, machine] = [uname.sysname(), uname.release(), uname.machine()]
            .map(|text| text.to_string_lossy().into_owned());
        Self {
            processor: model.map_or_else(|| machine.clone(), |(_, model)| model.trim().to_owned()),
            processors: info.lines().filter(|line| line.starts_with("processor")).count(),
            allowed: allowed_processors(),
            system: format!("{name} {release} {machine}"),
        }
    }
}

/// The processors this process may run on; none where the system does not say.
pub fn allowed_processors() -> Vec<usize> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
    }
    Vec::new()
}

/// Load averages of 1, 5 and 15 minutes.
pub fn load_average() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??])
}

/// The least, the middle and the most of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = match values.len() % 2 {
            0 => (values.get(middle - 1)? + upper) / 2.0,
            _ => upper,
        };
        Some(Self { min, median, max })
    }

    /// From the least to the most, in parts of the middle.
    pub fn relative(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / self.median } else { 0.0 }
    }
}

/// Steal time from which on figures are doubtful, in percent.
const STEAL_LIMIT: f64 = 1.0;
/// Processor time of others from which on figures are doubtful, in percent.
const OTHERS_LIMIT: f64 = 10.0;
/// Spread from which on figures are doubtful, in percent.
const SPREAD_LIMIT: f64 = 20.0;

/// What disturbed a measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Noise {
    /// Time that a hypervisor took from the processors in use, in percent of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steal_percent: Option<f64>,
    /// Processor time that others spent on the processors in use, in percent of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others_percent: Option<f64>,
    /// Load averages of 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_average: Option<[f64; 3]>,
    /// From the least to the most I/O per second among repeats, in percent of the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread_percent: Option<f64>,
    /// The same of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_spread_percent: Option<f64>,
}

impl Noise {
    /// What a reader must know before believing the figures.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |value: Option<f64>, limit: f64, what: &str| {
            if let Some(value) = value.filter(|&value| value >= limit) {
                warnings.push(format!("{what} {value:.0} %"));
            }
        };
        warn(self.steal_percent, STEAL_LIMIT, "the hypervisor took the processors away for");
        warn(self.others_percent, OTHERS_LIMIT, "others used the same processors for");
        warn(self.spread_percent, SPREAD_LIMIT, "repeats differ by");
        warn(self.floor_spread_percent, SPREAD_LIMIT, "repeats of the floor differ by");
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert!((spread.relative() - 1.0).abs() < 1e-9);
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([7.0]).unwrap(), Spread { min: 7.0, median: 7.0, max: 7.0 });
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::default().relative(), 0.0);
    }

    #[test]
    fn processor_times_are_those_of_the_processors_in_use() {
        let text =
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 100 700 5 10 20 30 0 0\ncpu1 1 2 3 4 5 6 7 8 0 0\nintr 5\n";
        let one = SystemTimes::parse(text, &[0]).unwrap();
        assert!((one.busy - 2.3).abs() < 1e-9 && (one.steal - 0.3).abs() < 1e-9, "{one:?}");
        let all = SystemTimes::parse(text, &[]).unwrap();
        assert!((all.busy - 2.49).abs() < 1e-9, "{all:?}");
        assert_eq!(all.since(one).steal, all.steal - one.steal);
        assert_eq!(SystemTimes::parse(text, &[7]), None);
        assert_eq!(SystemTimes::parse("", &[]), None);
    }

    #[test]
    fn noise_is_named() {
        assert!(Noise::default().warnings().is_empty());
        let noise = Noise {
            steal_percent: Some(3.0),
            others_percent: Some(9.0),
            spread_percent: Some(31.4),
            ..Noise::default()
        };
        let warnings = noise.warnings();
        assert_eq!(warnings, ["the hypervisor took the processors away for 3 %", "repeats differ by 31 %"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_is_known() {
        let machine = Machine::this();
        assert!(machine.processors > 0 && !machine.allowed.is_empty(), "{machine:?}");
        assert!(machine.system.starts_with("Linux "));
        assert!(load_average().is_some() && SystemTimes::of(&[]).is_some());
    }
}
