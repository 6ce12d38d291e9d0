//! radar, the agent on each node: finds containers, shows their directories to the node's syncthing, and sees to it
//! that a directory's end is never taken for the deletion of its files.

mod attach;
mod cli;
mod events;
mod fanout;
mod folder;
mod ground;
mod guardian;
mod guards;
mod lifeline;
mod link;
mod mount;
mod mountinfo;
mod pidfd;
mod places;
mod probe;
mod registry;
mod reload;
mod runtime;
mod scan;
mod serve;
mod service;
mod session;
mod stages;
mod status;
mod watch;

fn main() -> std::process::ExitCode {
    cli::run()
}
