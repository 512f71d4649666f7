//! The rows of the benchmark.

mod bulk;
mod debuggers;
mod idle;
mod long_fat;
mod loss;
mod mixed;
pub(crate) mod names;
mod ping_pong;
mod relay;
mod shared;
mod start;

use std::time::Instant;

use anyhow::Result;

use crate::{
    contenders::{Contender, Kind},
    results::Row,
    site::Site,
    tools::Tools,
};

/// What a row is run with.
pub(crate) struct Context {
    pub(crate) tools: Tools,
    /// Whether there are fewer rounds, to see that all works rather than to measure.
    pub(crate) quick: bool,
    near: Option<Near>,
}

/// The hosts on a veth and everything between them, for the rows that have that in common.
pub(crate) struct Near {
    // Before the site, whose hosts they run on.
    pub(crate) contenders: Vec<Contender>,
    pub(crate) site: Site,
}

impl Context {
    pub(crate) fn new(tools: Tools, quick: bool) -> Self {
        Self {
            tools,
            quick,
            near: None,
        }
    }

    /// How often each is measured.
    fn rounds(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    fn near(&mut self) -> Result<&Near> {
        let near = match self.near.take() {
            Some(near) => near,
            None => {
                let site = Site::near(&self.tools)?;
                let kinds: &[Kind] = match self.tools.other {
                    Some(_) => &Kind::BUILDS,
                    None => &Kind::ALL,
                };
                let contenders = Contender::all(&site, kinds, site.service);
                Near { contenders, site }
            }
        };
        Ok(self.near.insert(near))
    }
}

/// The numbers of all rows.
pub(crate) const ALL: [u8; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// Measures the row of this number.
pub(crate) fn run(number: u8, context: &mut Context) -> Result<Row> {
    let began = Instant::now();
    if number > 3 {
        // What the first rows needed would cost the others time.
        context.near = None;
    }
    let mut row = match number {
        1 => ping_pong::run(context),
        2 => bulk::run(context),
        3 => mixed::run(context),
        4 => debuggers::run(context),
        5 => start::run(context),
        6 => long_fat::run(context),
        7 => relay::run(context),
        8 => idle::run(context),
        9 => loss::run(context),
        _ => shared::run(context),
    }?;
    row.took_s = began.elapsed().as_secs_f64();
    Ok(row)
}
