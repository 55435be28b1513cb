//! What a body is: protobuf, or JSON.

/// The two encodings H2 has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// JSON by H2's own rules.
    Json,
    /// Protobuf: what is meant where nobody says.
    #[default]
    Protobuf,
}

impl Content {
    /// The content type; H2 writes the second one without a hyphen.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/octetstream",
        }
    }

    /// The encoding of a content type; none for one that is not known.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "application/json" => Some(Self::Json),
            "application/octetstream" => Some(Self::Protobuf),
            _ => None,
        }
    }
}
