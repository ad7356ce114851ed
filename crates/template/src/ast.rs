//! The tree of a template. Every part knows where it stands in the text, for errors.

/// Bytes of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// What lies between actions, and actions.
#[derive(Clone, Debug)]
pub enum Node {
    Text(Span),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { at: Span, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

/// `if`, `with` and `range`.
#[derive(Clone, Debug)]
pub struct Branch {
    pub pipe: Pipe,
    pub then: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// `$a, $b := first | second`
#[derive(Clone, Debug)]
pub struct Pipe {
    pub at: Span,
    pub is_assignment: bool,
    pub variables: Vec<String>,
    pub commands: Vec<Command>,
}

/// An operand, or a function with arguments; never empty.
#[derive(Clone, Debug)]
pub struct Command {
    pub at: Span,
    pub first: Operand,
    pub arguments: Vec<Operand>,
}

#[derive(Clone, Debug)]
pub struct Operand {
    pub at: Span,
    pub kind: OperandKind,
}

#[derive(Clone, Debug)]
pub enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text(String),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipe)`
    Pipe(Box<Pipe>),
    /// `(pipe).a.b`
    Chain(Box<Operand>, Vec<String>),
}

/// A constant number: what it can be taken for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    pub int: Option<i64>,
    pub float: f64,
    /// Written with a point or an exponent: a float where either would do.
    pub is_float: bool,
}
