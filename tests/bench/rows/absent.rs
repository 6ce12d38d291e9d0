//! A reader in the container while a file is replaced: how long it finds no file at that name.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use ksync_measure::{Row, Unit};

use crate::{
    bed::{Bed, pause},
    bench::Bench,
    files,
    observer::ms,
    suite::eventually::SHORT,
};

/// The reader goes on for so long after the new content is there.
const AFTER: Duration = Duration::from_millis(30);

pub(super) fn measure(bench: &Bench, bed: &Bed) -> Vec<Row> {
    let times: Vec<f64> = (0..bench.options.trials(30)).map(|_| one(bench, bed)).collect();
    let seen = times.iter().filter(|time| **time > 0.0).count();
    let name = format!("a replaced file's name is absent for, {}", bed.runtime);
    let note = format!("seen in {seen} of {} edits by a reader that does nothing else", times.len());
    vec![Row::new(name, Unit::Milliseconds, &times).note(note)]
}

/// How long in all; panics when what is read is neither the old content nor the new.
fn one(bench: &Bench, bed: &Bed) -> f64 {
    let (here, there) = (bed.sandbox.path("index.html"), bed.there(bench, "index.html"));
    let (old, new) = (fs::read(&there).expect("read"), files::text(200));
    let absent = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (begun, mut absent) = (Instant::now(), Duration::ZERO);
            let (mut gone, mut arrived): (Option<Instant>, Option<Instant>) = (None, None);
            while arrived.is_none_or(|arrived| arrived.elapsed() < AFTER) {
                match fs::read(&there) {
                    Ok(content) => {
                        absent += gone.take().map_or(Duration::ZERO, |gone| gone.elapsed());
                        assert!(content == old || content == new, "half a file was read");
                        if content == new {
                            arrived.get_or_insert_with(Instant::now);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        gone.get_or_insert_with(Instant::now);
                    }
                    Err(error) => panic!("read `{}`: {error}", there.display()),
                }
                assert!(begun.elapsed() < SHORT, "an edit did not arrive");
            }
            absent
        });
        fs::write(&here, &new).expect("edit");
        reader.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    });
    pause();
    ms(absent)
}
