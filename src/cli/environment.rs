//! What options are made of besides the command line, which wins over variables, and those over the file.

use std::{env, fmt};

use p2pdbg_base::{Failure, secret_variables};

use crate::config::Config;

/// What options are made of besides the command line.
pub struct Environment<'a> {
    /// The configuration file, or an empty one if there is none.
    pub config: Config,
    /// The variable `P2PDBG_CODE`, by which a code comes in without being seen in the list of processes.
    pub code: Option<String>,
    /// Asks the user for the code, with what was wrong with the last answer; `None` if nobody can be asked.
    pub ask_code: &'a mut dyn FnMut(Option<&str>) -> Option<String>,
}

impl<'a> Environment<'a> {
    /// The environment of this process.
    ///
    /// # Errors
    /// If the configuration file cannot be used.
    pub fn of_process(
        ask_code: &'a mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            config: Config::load()?,
            code: env::var(secret_variables::CODE).ok(),
            ask_code,
        })
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
