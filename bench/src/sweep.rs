//! A grid of points to measure, and what came of them.

use std::time::Duration;

use serde::Serialize;

use crate::{Pattern, noise::Machine, report::Report};

/// One point of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Which places.
    pub pattern: Pattern,
    /// The size of one I/O.
    pub block_size: u32,
    /// Commands outstanding.
    pub depth: u16,
    /// Whether both digests are on.
    pub digests: bool,
}

/// Every combination of these.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the same as of a point")]
pub struct Grid {
    pub patterns: Vec<Pattern>,
    pub block_sizes: Vec<u32>,
    pub depths: Vec<u16>,
    pub digests: Vec<bool>,
}

impl Grid {
    /// The points, those that a reader compares next to each other.
    pub fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for &pattern in &self.patterns {
            for &block_size in &self.block_sizes {
                for &digests in &self.digests {
                    points.extend(self.depths.iter().map(|&depth| Point {
                        pattern,
                        block_size,
                        depth,
                        digests,
                    }));
                }
            }
        }
        points
    }

    /// How long it takes to measure all of them, connecting aside.
    pub fn takes(&self, turn: Duration, turns: u32) -> Duration {
        let points = u32::try_from(self.points().len()).unwrap_or(u32::MAX);
        turn.saturating_mul(turns).saturating_mul(points)
    }
}

/// What was measured in one go: a whole grid, or a point alone.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// The machine.
    pub machine: Machine,
    /// The command line.
    pub command: String,
    /// When it ended, in UTC.
    pub when: String,
    /// The points.
    pub points: Vec<Report>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_every_combination_once() {
        let grid = Grid {
            patterns: ["randread", "rw:70"].map(|text| text.parse().unwrap()).to_vec(),
            block_sizes: vec![512, 4096],
            depths: vec![1, 8, 32],
            digests: vec![false, true],
        };
        let points = grid.points();
        assert_eq!(points.len(), 24);
        assert!(points.iter().enumerate().all(|(at, point)| !points[..at].contains(point)));
        assert_eq!(points[..3].iter().map(|point| point.depth).collect::<Vec<_>>(), [1, 8, 32]);
        assert_eq!(grid.takes(Duration::from_millis(500), 10), Duration::from_secs(120));
    }
}
