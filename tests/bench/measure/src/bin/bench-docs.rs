//! `bench-docs PAGE FIGURES...`: puts the figures of the bench between the page's marks.
#![allow(clippy::print_stderr, reason = "a program of a few lines")]

use std::{error::Error, fs, process::ExitCode};

use ksync_measure::{Report, replace, short};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(page), figures) = (args.next(), args.collect::<Vec<_>>()) else {
        eprintln!("usage: bench-docs PAGE FIGURES...");
        return ExitCode::from(2);
    };
    match write(&page, &figures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(page: &str, figures: &[String]) -> Result<(), Box<dyn Error>> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("read `{path}`: {error}"));
    let mut reports = Vec::new();
    for path in figures {
        reports.push(Report::parse(&read(path)?).map_err(|error| format!("`{path}`: {error}"))?);
    }
    let text = replace(&read(page)?, &short(&reports)).map_err(|error| format!("`{page}`: {error}"))?;
    fs::write(page, text).map_err(|error| format!("write `{page}`: {error}"))?;
    Ok(())
}
