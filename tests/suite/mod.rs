//! The tests, one module for each noun, and `crash` for what happens to all of them under `kill -9`.

mod accounting;
mod archives;
mod complete;
mod crash;
mod errors;
mod exec;
mod images;
mod interchange;
mod isolation;
mod lifecycle;
mod logs;
mod manifest;
mod mounts;
mod pull;
mod pull_resume;
mod pull_trust;
mod push;
mod registry;
mod removal;
mod rootfs;
mod run;
mod search;
mod security;
mod single;
mod terminal;
mod user;
