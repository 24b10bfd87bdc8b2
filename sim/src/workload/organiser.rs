//! The organiser during the sale: opens lines, changes rates and room, pauses and resumes, blocks seats and frees them.

use super::house::open_house;
use super::market::{BEACON_ROUND, Opening, pace};
use super::{Client, Shop, Stage};
use crate::dice::Dice;
use crate::options::Options;
use vestibule_engine::{
    BlockSeats, CloseQueue, Method, Millis, OpenQueue, PauseQueue, RecordBeacon, ResumeQueue, SalePatch, SeatId,
    SetQueueMessage, ShardCommand, ShowtimeId, UnblockSeats, UpdateSale,
};

/// Puts everything on sale, if that is not done yet, and runs the sale until the run closes.
pub async fn organise(client: Client, options: Options, shop: Shop, dice: Dice) {
    if shop.house().is_none() {
        open_house(client.clone(), options.clone(), shop.clone()).await;
    }
    let mut organiser = Organiser { client, dice };
    let Some(house) = shop.house() else { return };
    for (index, &showtime) in house.showtimes.iter().enumerate() {
        let opening = options.market.openings[index];
        if options.market.methods[index] == Method::Passthrough {
            continue;
        }
        // Some join before the line opens. Whoever took over from a machine that died opens it once more.
        organiser.pause(200, 2_500).await;
        match opening {
            Opening::ByCommand => {
                organiser.insist(showtime, ShardCommand::OpenQueue(OpenQueue { showtime })).await;
            }
            Opening::After(_) => {}
            Opening::Beacon(_) => organiser.tell_beacon(showtime).await,
        }
    }
    let last_orders = tokio::time::Instant::now() + options.chaos * 3 / 4;
    while shop.stage() < Stage::Closing {
        organiser.pause(200, 1_500).await;
        let index = organiser.dice.index(house.showtimes.len());
        let showtime = house.showtimes[index];
        let has_line = options.market.methods[index] != Method::Passthrough;
        let may_close = tokio::time::Instant::now() > last_orders && shop.has_sold();
        if has_line && may_close && organiser.dice.percent(10) {
            // Those who are inside go on; nobody else gets there.
            organiser.client.shard(showtime.group(), ShardCommand::CloseQueue(CloseQueue { showtime })).await;
        }
        organiser.act(showtime, house.seat_map.seat_count(), shop.has_sold(), &options).await;
    }
}

struct Organiser {
    client: Client,
    dice: Dice,
}

impl Organiser {
    async fn pause(&mut self, min: u64, max: u64) {
        tokio::time::sleep(self.dice.millis(min..=max)).await;
    }

    /// Says what the public beacon gave, as soon as the line takes it.
    async fn tell_beacon(&mut self, showtime: ShowtimeId) {
        let randomness = format!("round {BEACON_ROUND} for {showtime}").into_bytes();
        let command = ShardCommand::RecordBeacon(RecordBeacon { showtime, round: BEACON_ROUND, randomness });
        // Until its time has come it is refused.
        while !matches!(self.client.shard(showtime.group(), command.clone()).await, Some(Ok(_))) {
            self.pause(100, 500).await;
        }
    }

    /// Asks until there is an answer.
    async fn insist(&mut self, showtime: ShowtimeId, command: ShardCommand) {
        while self.client.shard(showtime.group(), command.clone()).await.is_none() {
            self.pause(50, 200).await;
        }
    }

    async fn act(&mut self, showtime: ShowtimeId, seats: usize, has_sold: bool, options: &Options) {
        let group = showtime.group();
        match self.dice.within(0..=99) {
            0..=29 => {
                let (rate, active_max) = pace(&mut self.dice, has_sold);
                let (rate_per_minute, active_max) = (Some(rate), Some(active_max));
                let patch = SalePatch { rate_per_minute, active_max, ..SalePatch::default() };
                self.client.shard(group, ShardCommand::UpdateSale(UpdateSale { showtime, patch })).await;
            }
            30..=39 => {
                let longest = options.hold_ttl.as_millis() as u64;
                let hold_ttl = Some(Millis(self.dice.within(1_000..=longest)));
                let patch = SalePatch { hold_ttl, ..SalePatch::default() };
                self.client.shard(group, ShardCommand::UpdateSale(UpdateSale { showtime, patch })).await;
            }
            40..=64 => {
                self.client.shard(group, ShardCommand::PauseQueue(PauseQueue { showtime })).await;
                self.pause(100, 1_500).await;
                // A line that stays paused would end the sale.
                self.insist(showtime, ShardCommand::ResumeQueue(ResumeQueue { showtime })).await;
            }
            65..=84 => {
                let count = self.dice.within(1..=5);
                let blocked: Vec<SeatId> = (0..count).map(|_| SeatId(self.dice.index(seats) as u32)).collect();
                let ask = BlockSeats { showtime, seats: blocked.clone(), reason: "camera".to_owned(), channel: None };
                self.client.shard(group, ShardCommand::BlockSeats(ask)).await;
                self.pause(100, 1_500).await;
                self.client.shard(group, ShardCommand::UnblockSeats(UnblockSeats { showtime, seats: blocked })).await;
            }
            _ => {
                let text = self.dice.percent(50).then(|| "soon".to_owned());
                self.client.shard(group, ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text })).await;
            }
        }
    }
}
