//! The command line: clap types, one file per command; tables, templates, error text, completion, man pages.
//!
//! The only room that prints and that chooses exit statuses. A command's file holds its words, its help, its
//! examples and its printing; what it does is the engine's. Data goes to stdout, everything else to stderr, and
//! nothing that an image, a registry or another program wrote reaches a terminal unescaped.
//!
//! `kelp run` is the hot path: of all the commands, only the one that was called is ever built ([`dispatch`]).

mod attach;
mod command;
mod commit;
mod complete;
mod completion;
mod container_options;
mod context;

mod cp;
mod create;
mod df;
mod diff;
mod dispatch;
mod escape;
mod exec;
mod exists;
mod export;
mod failure;
mod history;
mod human;
mod image_tree;
mod images;
mod images_tree;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logout;
mod logs;
mod man;
mod manifest;
mod network;
mod nulls;
mod output;
mod port;
mod progress;
mod prune;
mod ps;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod start;
mod stop;
mod system;
mod table;
mod tag;
mod template;
mod tree;
mod unbuilt;
mod version;
mod wait;

pub use completion::{Shell, script as completion_script};
pub use man::{Page, pages as man_pages};
pub use tree::full as command_tree;

/// Runs one command: the whole process, after `main` has seen that it is no shim. Returns the exit status.
pub fn main() -> u8 {
    if let Some(shell) = crate::config::completion_shell() {
        complete::answer(&shell);
        return 0;
    }
    dispatch::run(std::env::args_os().skip(1).collect()).code()
}
