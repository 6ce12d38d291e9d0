//! Keeps one local directory and its containers' directories equal: news of all sides in, operations out, by the one merge
//! (`ksync_merge`), carried out by each side's one writer (`ksync_endpoint`).

mod admit;
mod ask;
mod command;
mod contents;
mod dispatcher;
mod engine;
mod far;
mod gate;
mod journal;
mod keep;
mod kinds;
mod ledger;
mod listing;
mod marks;
mod member;
mod parked;
mod progress;
mod rests;
mod safekeeping;
mod stands;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
mod turn;
mod unasked;
mod unkept;

pub use command::{Attach, Check, Command, Config, Edits, id_of, name};
pub use engine::{Engine, StartError};
pub use far::{Far, FarContent, FromFar, Pieces, ToFar};
pub use journal::{Journal, JournalError};
pub use keep::Keeper;
pub use progress::Progress;
pub use state::{
    Failure, FirstPull, Healings, LastEdit, MemberState, Much, Named, Questions, STALE, State, Unasked,
};
pub use unasked::joined_tops;
