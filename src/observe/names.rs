//! What became of names that were asked for: the resolvers' counts, as metrics want them.

/// One VNet's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// `group/name` of the VNet.
    pub vnet: String,
    /// Answers by where they came from and by their code.
    pub answers: Vec<(&'static str, &'static str, u64)>,
    /// Messages without an answer, by why.
    pub drops: Vec<(&'static str, u64)>,
}

/// Tells the counts there are now.
pub type Source = Box<dyn Fn() -> Vec<NameCounts> + Send + Sync>;
