//! What several test binaries share; each uses a part of it.
#![allow(dead_code)]

pub mod axis;
pub mod cluster;
pub mod enumerate;
pub mod judge;
pub mod ledger;
pub mod linear;
pub mod reached;
pub mod reshape;
pub mod restoring;
pub mod small;
pub mod workload;
