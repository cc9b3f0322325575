//! The surface as clients see it: a real engine on a store in memory, processes that the tests play, real HTTP.

mod documents;
mod lists;
mod logs;
mod puppets;
mod refusals;
mod shapes;
mod stage;
mod streams;
mod trust;
mod wakes;
