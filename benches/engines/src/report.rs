//! Figures by engine and round, and the ratios between this engine and the better of the others.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::args::EngineName;

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Better {
    Less,
    More,
}

#[derive(Serialize)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    better: Better,
    /// A figure a round.
    figures: BTreeMap<EngineName, Vec<f64>>,
}

#[derive(Default, Serialize)]
pub struct Report {
    rows: Vec<Row>,
    pub notes: BTreeMap<String, String>,
}

impl Report {
    pub fn add(&mut self, what: &str, unit: &'static str, better: Better, engine: EngineName, figure: f64) {
        let at = self.rows.iter().position(|row| row.what == what).unwrap_or_else(|| {
            self.rows.push(Row { what: what.to_owned(), unit, better, figures: BTreeMap::new() });
            self.rows.len() - 1
        });
        self.rows[at].figures.entry(engine).or_default().push(figure);
    }

    /// Medians, and how many times better this engine is than the best of the others: the median over rounds.
    pub fn print(&self, engines: &[EngineName]) {
        print!("{:<34} {:>7}", "", "unit");
        engines.iter().for_each(|engine| print!(" {:>14}", engine.name()));
        println!(" {:>16}", "ahead, times");
        for row in &self.rows {
            print!("{:<34} {:>7}", row.what, row.unit);
            for engine in engines {
                let figures = row.figures.get(engine);
                print!(" {:>14}", figures.map_or("-".to_owned(), |all| short(median(all.clone()))));
            }
            println!(" {:>16}", row.ahead().map_or("-".to_owned(), |ahead| format!("{ahead:.2}")));
        }
        self.notes.iter().for_each(|(what, note)| println!("{what}: {note}"));
    }
}

impl Row {
    fn ahead(&self) -> Option<f64> {
        let own = self.figures.get(&EngineName::Kyrodb)?;
        let others: Vec<_> = self.figures.iter().filter(|(name, _)| **name != EngineName::Kyrodb).collect();
        let ratio = |round: usize| {
            let figures = others.iter().filter_map(|(_, figures)| figures.get(round).copied());
            Some(match self.better {
                Better::Less => figures.reduce(f64::min)? / own[round],
                Better::More => own[round] / figures.reduce(f64::max)?,
            })
        };
        let ratios: Vec<f64> = (0..own.len()).filter_map(ratio).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len().is_multiple_of(2) { f64::midpoint(all[middle - 1], all[middle]) } else { all[middle] }
}

fn short(figure: f64) -> String {
    match figure {
        small if small.abs() < 10.0 => format!("{small:.2}"),
        middle if middle.abs() < 1000.0 => format!("{middle:.1}"),
        large => format!("{large:.0}"),
    }
}
