//! Answers as the terminal shows them. Pure: values in, text out; [`style::Style`] says whether there are colours
//! and how wide a line may be.

pub mod case;
pub mod compare;
pub mod doctor;
pub mod log_lines;
pub mod reconcile;
pub mod sarif;
pub mod style;
pub mod table;
pub mod walk;
pub mod waterfall;

pub use style::Style;

#[cfg(test)]
mod tests;
