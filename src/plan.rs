//! `vestibule plan`: venue plans.

use crate::cli::PlanCommand;
use anyhow::Context;
use std::path::Path;
use std::process::ExitCode;
use vestibule_engine::plan;

/// The longest plan that is read, in bytes; gateways take no longer one either.
const PLAN_LEN_MAX: u64 = 16 << 20;

pub(crate) fn run(command: PlanCommand) -> anyhow::Result<ExitCode> {
    match command {
        PlanCommand::Theatre => println!("{}", plan::theatre()),
        PlanCommand::Arena { seats } => println!("{}", plan::arena(seats)?),
        PlanCommand::Check { file } => {
            let map = plan::import(&read(&file)?).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
            println!("{}: {} seats in {} sections", map.name, map.seat_count(), map.sections.len());
            for category in &map.categories {
                println!("  category {}", category.name);
            }
            for area in &map.areas {
                println!("  area {}: {} places", area.name, area.capacity);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a plan's file, if it is no longer than a plan may be.
pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("cannot read the plan {}", file.display());
    let len = std::fs::metadata(file).with_context(context)?.len();
    anyhow::ensure!(len <= PLAN_LEN_MAX, "{} has {len} bytes, more than {PLAN_LEN_MAX}", file.display());
    std::fs::read(file).with_context(context)
}
