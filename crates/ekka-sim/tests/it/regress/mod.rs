//! The schedules that formation, identity and leaving must survive, by their names, on the cores alone.

mod cleaning;
mod clocks;
mod copies;
mod formation;
mod found;
mod heals;
mod identity;
mod leases;
mod leaving;
mod meeting;
mod membership;
mod sources;
mod support;
mod users;
mod volatile;
