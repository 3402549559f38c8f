//! One plot as SVG: lines over a few named places, with bars from the least to the most.
//!
//! Places on the x axis are equally far apart, whatever their names say: depths grow by factors.

use plotters::{
    coord::{Shift, combinators::IntoLogRange, ranged1d::ValueFormatter},
    prelude::*,
};

const SIZE: (u32, u32) = (420, 270);

/// A plot.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) x: Vec<String>,
    pub(super) y: Axis,
    /// The last is drawn on top.
    pub(super) lines: Vec<Line>,
}

/// The y axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) log: bool,
}

/// A line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) colour: RGBColor,
    pub(super) dashed: bool,
    pub(super) marks: Vec<Mark>,
}

/// A value with its spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// The place on the x axis.
    pub(super) at: usize,
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
}

impl Plot {
    /// The SVG element.
    pub(super) fn to_svg(&self) -> String {
        let mut svg = String::new();
        let drawn = {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw(&area).and_then(|()| area.present())
        };
        // Drawing into a string cannot fail; a plot that did is better left out than the page with it.
        if drawn.is_ok() { svg } else { String::new() }
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let values = || self.lines.iter().flat_map(|line| &line.marks);
        let high = values().map(|mark| mark.high).fold(0.0, f64::max);
        let low = values().map(|mark| mark.low).filter(|&low| low > 0.0).fold(high, f64::min);
        let (low, high) = if high > 0.0 { (low, high) } else { (1.0, 1.0) };
        let mut chart = ChartBuilder::on(area);
        chart.margin(6).margin_top(10).x_label_area_size(36).y_label_area_size(58);
        let x = -0.35..self.x.len().max(1) as f64 - 0.65;
        match self.y.log {
            true => self.fill(chart.build_cartesian_2d(x, (low * 0.7..high * 1.4).log_scale())?, low * 0.7),
            false => self.fill(chart.build_cartesian_2d(x, 0.0..high * 1.08)?, 0.0),
        }
    }

    fn fill<Y>(&self, mut chart: Chart<'_, '_, Y>, bottom: f64) -> Drawn
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let name = |x: &f64| {
            let near = x.round();
            let whole = (x - near).abs() < 1e-6 && near >= 0.0;
            self.x.get(near as usize).filter(|_| whole).cloned().unwrap_or_default()
        };
        let grey = RGBColor(82, 96, 109);
        let font = ("sans-serif", 13).into_font().color(&grey);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(226, 232, 238))
            .axis_style(RGBColor(160, 170, 180))
            .x_labels(2 * self.x.len())
            .y_labels(6)
            .x_label_formatter(&name)
            .y_label_formatter(&|y| number(*y))
            .x_desc("commands outstanding")
            .y_desc(self.y.name)
            .label_style(font.clone())
            .axis_desc_style(font)
            .draw()?;
        for line in &self.lines {
            let points = || line.marks.iter().map(|mark| (mark.at as f64, mark.middle.max(bottom)));
            let style = line.colour.stroke_width(2);
            match line.dashed {
                true => drop(chart.draw_series(DashedLineSeries::new(points(), 6, 4, style))?),
                false => drop(chart.draw_series(LineSeries::new(points(), style))?),
            }
            let bars = line.marks.iter().map(|mark| {
                let ends = vec![(mark.at as f64, mark.low.max(bottom)), (mark.at as f64, mark.high)];
                PathElement::new(ends, line.colour.stroke_width(1))
            });
            chart.draw_series(bars)?;
            chart.draw_series(points().map(|point| Circle::new(point, 3, line.colour.filled())))?;
        }
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, Y> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>;
type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// As few digits as tell values of an axis apart.
fn number(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0}k", v / 1e3),
        v if v >= 10.0 || v == 0.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}
