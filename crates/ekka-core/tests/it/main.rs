//! The tests of the cores from outside, in one binary: what they share is compiled and linked once.

mod control_common;
mod control_loading;
mod control_recover;
mod control_twins;
mod control_words;
mod durable_absorb;
mod durable_common;
mod durable_record;
mod durable_recover;
mod durable_room;
mod durable_seeds;
mod durable_voters;
mod durable_world;
mod heal_scale;
mod heal_world;
mod lease_world;
mod lock_world;
mod membership_faults;
mod membership_scale;
mod membership_world;
mod owned_world;
mod small_group;
mod sources;
mod table_world;
mod volatile_world;
