//! Runs as a whole: what is written is read back, and no damage is ever read as data.

mod damage;
mod garbage;
mod golden;
mod model;
mod resident;
mod round_trip;
mod size;
mod values;
