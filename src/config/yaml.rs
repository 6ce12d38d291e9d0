//! The only room that knows serde_yaml: text to values, values to text, and where an error is.

use serde::de::DeserializeOwned;

use super::position::Position;

/// Any YAML value; mappings keep their order.
pub(super) type Value = serde_yaml::Value;
/// A mapping in the file's order.
pub(super) type Mapping = serde_yaml::Mapping;

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) place: Option<Position>,
}

/// Reads a text into values or into a type.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_yaml::from_str(text).map_err(|e| problem(&e))
}

/// Reads a value into a type; the error has no place.
pub(super) fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    serde_yaml::from_value(value.clone()).map_err(|e| problem(&e))
}

/// Writes values anew.
pub(super) fn write(value: &Value) -> Result<String, Problem> {
    serde_yaml::to_string(value).map_err(|e| problem(&e))
}

/// Any data as YAML text.
pub(crate) fn to_yaml(data: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(data)?)
}

fn problem(error: &serde_yaml::Error) -> Problem {
    let place = error.location().map(|at| Position { line: at.line(), column: at.column() });
    let mut message = error.to_string();
    // The place is told apart from the message; serde_yaml appends it.
    if let Some(at) = place {
        for tail in [format!(" at {at}"), format!(" at line {}, column {}", at.line, at.column)] {
            message = message.replace(&tail, "");
        }
    }
    Problem { message, place }
}
