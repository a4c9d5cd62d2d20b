//! What was shown where, as a table.

use crate::ground::Claim;

/// One cell for each claim and level.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    levels: Vec<String>,
    rows: Vec<(&'static str, Vec<(String, &'static str)>)>,
}

impl Matrix {
    /// Notes what a claim showed at a level.
    pub(crate) fn note(&mut self, claim: &Claim, level: &str, cell: &'static str) {
        if !self.levels.iter().any(|known| known == level) {
            self.levels.push(level.to_owned());
        }
        match self.rows.iter_mut().find(|(says, _)| *says == claim.says) {
            Some((_, cells)) => cells.push((level.to_owned(), cell)),
            None => self.rows.push((claim.says, vec![(level.to_owned(), cell)])),
        }
    }

    /// The table; levels weakest first, claims in this order.
    pub(crate) fn text(&self, claims: impl Iterator<Item = Claim>) -> String {
        let order =
            ["process", "namespace", "container", "container+crun", "container+runc", "gvisor", "wasm", "vm"];
        let levels: Vec<_> = order.iter().filter(|l| self.levels.iter().any(|known| known == *l)).collect();
        let width = self.rows.iter().map(|(says, _)| says.len()).max().unwrap_or(0) + 2;
        let mut text = format!("conformance: {:width$}", "CLAIM");
        text.extend(levels.iter().map(|level| format!("{:15}", level.to_uppercase())));
        let row = |claim: Claim| self.rows.iter().find(|(says, _)| *says == claim.says);
        for (says, cells) in claims.filter_map(row) {
            text += &format!("\nconformance: {says:width$}");
            for level in &levels {
                let cell = cells.iter().find(|(at, _)| at == *level).map_or("-", |(_, cell)| cell);
                text += &format!("{cell:15}");
            }
        }
        text
    }
}
