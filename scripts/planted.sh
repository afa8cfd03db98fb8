#!/usr/bin/env bash
# Plants bugs in a temporary copy of the packet path, one by one, and shows which test finds each.
#
#   scripts/planted.sh [--demo | --dry] [NAME...]
#
#   --dry   builds nothing, and shows which bugs have lost their place
#   --demo  runs scripts/demo.sh with each bug planted, too: it must fail, and the line that failed is shown
#
# One line per bug: `NAME: caught by TEST`, or `NAME: NOT CAUGHT`, which makes the script fail. Named ones
# only, if there are names. The copy lies in target/planted/, so that later runs build little.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
HERE=$PWD
COPY=${CARGO_TARGET_DIR:-$HERE/target}/planted
MISSED=0
DEMO=no
DRY=no
case ${1:-} in
  --demo) DEMO=yes && shift ;;
  --dry) DRY=yes && shift ;;
esac
WANTED=" $* "

# shellcheck disable=SC2016  # the expressions are for perl to expand
main() {
  rm -rf "$COPY/tree" "$COPY/part"
  mkdir -p "$COPY/tree" "$COPY/target"
  cp -a Cargo.toml Cargo.lock clippy.toml src tests benches "$COPY/tree/"
  # The packet path knows nothing of the other modules: its own tests need a fifth of the crate.
  cp -a "$COPY/tree" "$COPY/part"
  perl -0pi -e 's/(\/\/\/ [^\n]*\n)+pub mod (?!wire|snapshot|dataplane)\w+;\n//g' "$COPY/part/src/lib.rs"
  # What the dependencies were built to serves the copy too; its own binaries stay out of the way.
  [[ $DRY == yes || -d $COPY/target/debug || ! -d target/debug ]] ||
    tar -C target -c --exclude='*privlink*' --exclude=incremental debug | tar -C "$COPY/target" -x
  local d=src/dataplane s=src/snapshot w=src/wire
  bug spoofed_source $d/admit/mod.rs 's/if is_spoofed\(context\.snapshot, &query\)/if false/'
  bug edge_of_a_subnet $s/policy.rs 's/attachment\.unsent\.contains\(query\.source\) \|\|//'
  bug stranger_told $s/policy.rs 's/if !attachment\.may_use_any\(query\.source\)/if false/'
  bug wrong_sum_answered $d/admit/reject.rs 's/if !packet\.is_sound\(frame\)/if false/'
  bug no_sum_made_right $d/path/slow.rs 's/session\.families\.pair\(\) == Pair::Mixed && version == Version::V6 &&/false \&\&/'
  bug second_mss $d/nat/rewrite.rs 's/from = at \+ 2;\n/from = 60;\n/'
  bug home_address $w/ip.rs 's/DESTINATION_OPTIONS => options\(rest, is_padding\)\?/DESTINATION_OPTIONS => sized(rest)?/'
  bug unknown_endpoint $s/policy.rs 's/snapshot\.endpoint_address\(attachment, query\.destination\)/snapshot.endpoint_address(attachment, query.destination).or_else(|| snapshot.endpoint_addresses().next().map(|e| (e.2, \&attachment.sources)))/'
  bug approved $s/policy.rs 's/endpoint\.state != ConnectionState::Approved/false/'
  bug source_allowed $s/policy.rs 's/!accepted\.contains\(query\.source\)/false/'
  bug workload $s/policy.rs 's/\.find\(\|\(_, set\)\| set\.contains\(query\.source\)\)/.find(|(_, _)| false)/'
  bug source_rule $s/policy.rs 's/\|sources\| !sources\.contains\(query\.source\)/|_| false/'
  bug security_rule $s/policy.rs 's/\(!rule\.allow\)/(false)/'
  bug port $s/tables.rs 's/map\.protocol == protocol && \(map\.first\.\.=map\.last\)\.contains\(&port\)/map.protocol == protocol \&\& port >= map.first/'
  bug syn $d/admit/mod.rs 's/let opens = opens_session\(frame, packet\);/let opens = true;/'
  bug ttl $d/path/slow.rs 's/if packet\.hops <= 1/if packet.hops < 1/'
  bug backend_drain $d/admit/mod.rs 's/admission\.target\.state_at\([^;]*\) == BackendState::Up/true/'
  bug backend_fewest $d/admit/mod.rs 's/count == fewest/count >= fewest/'
  bug backend_source $d/admit/mod.rs 's/let source = key\.source\.folded\(\);/let source = key.source.folded() ^ u32::from(key.source_port);/'
  bug backend_left $d/handoff.rs 's/count\.get\(\)\.saturating_sub\(sessions\)/*count.get()/'
  bug session_limit $d/handoff.rs 's/if \*of_endpoint >= endpoint\.1 /if false /; s/if !resource\.1\.has_room\([^{]*/if false /'
  bug generation_compare $d/path.rs 's/context\.snapshot\.generation\(session\.endpoint\) == Some\(session\.generation\)/true/'
  bug valid_since $d/lifecycle/review.rs 's/if outlived \|\| !still/if !still/'
  bug backend_recheck $d/lifecycle/rules.rs 's/state\(backend\) != BackendState::Down && backend\.address == a\.backend\.ip\(\)/state(backend) != BackendState::Down/'
  bug backend_down $d/lifecycle/rules.rs 's/state\(backend\) != BackendState::Down && /{ _ = state(backend); true } \&\& /'
  bug nat_recheck $d/lifecycle/rules.rs 's/\n\s*&& \(admission\.resource\.nat\.contains\(&a\.nat\.ip\(\)\)[^\n]*\)//'
  bug nat_retired $d/lifecycle/rules.rs 's/ \|\| admission\.resource\.retired\.contains\(&a\.nat\.ip\(\)\)//'
  bug key_attachment $d/session/mod.rs 's/attachment: self\.consumer_attachment,/attachment: AttachmentId(0),/'
  bug delta_not_complemented $d/nat/rewrite.rs 's/addresses: !session\.address_delta/addresses: session.address_delta/'
  bug checksum_recomputed $d/nat/rewrite.rs 's/let sum = checksum::update\(field, checksum::join\(to\.addresses, to\.ports\)\);/let sum = 0x1234_u16.wrapping_add(to.addresses).wrapping_add(to.ports);/'
  bug mss_at_odd_offsets $d/nat/rewrite.rs 's/let words = at & !1\.\.\(at \+ 3\) & !1;/let words = at..at + 2;/'
  bug hash_folded_first $d/session/hash.rs 's/mixed\(key\.source\.words\(\), \(secret\[0\], secret\[1\]\)\)/product((key.source.words()[0] ^ key.source.words()[1].rotate_left(23)) ^ secret[0], secret[1])/'
  bug search_unbounded $d/session/index.rs 's/const REACH: usize = 128;/const REACH: usize = 1 << 20;/'
  bug half_open_stays $d/admit/half_open.rs 's/session\.phase == Phase::Opening/false/'
  bug half_open_of_anybody $d/admit/half_open.rs 's/max_by_key\(\|slot\| \(weight/min_by_key(|slot| (weight/'
  bug half_open_of_an_endpoint $d/admit/mod.rs 's/half_open::gives_way\(sessions, \|session\| session\.endpoint == endpoint, tx, context\)/false/'
  bug half_open_by_index $d/admit/half_open.rs 's/\(weight\(slot\), random\.u64\(\.\.\)\)/weight(slot)/'
  bug half_open_untold $d/admit/half_open.rs 's/sessions\.reset_ends\(slot, tx\);//'
  bug half_open_port_quarantined $d/lifecycle/mod.rs 's/session\.phase == Phase::Opening && reason == FlowEndReason::Reclaimed/false/'
  bug pieces_of_anybody $d/fragment/reassembly.rs 's/held\.max_by_key/held.min_by_key/'
  bug pieces_by_map_order $d/fragment/reassembly.rs 's/\(\*weight, random\.u64\(\.\.\)\)/*weight/'
  bug pieces_by_number $d/fragment/reassembly.rs 's/number: self\.begun/number: u64::from(key.identification) << 32 | u64::from(source.low())/'
  bug answers_of_all $d/admit/reject.rs 's/let tenant = usize::from\(tenant\.0\);/let tenant = usize::from(tenant.0) * 0;/'
  bug handed_out_of_turn $d/handoff.rs 's/self\.turn\.store\(tenant \+ 1, Ordering::Relaxed\);//'
  bug rings_shared $d/handoff.rs 's/let tenant = usize::from\(handed\.meta\.attachment\.0\);/let tenant = usize::from(handed.meta.attachment.0) % 64;/'
  bug port_quarantine $d/nat/ports.rs 's/const QUARANTINE_(\w+): u32 = [^;]*;/const QUARANTINE_$1: u32 = 0;/g'
  bug tombstone $d/lifecycle/mod.rs 's/if session\.protocol != Protocol::Tcp \{/if true {/'
  bug handover $d/path/slow.rs 's/if owner != peers\.position\.worker && !rx\.meta\.handed/if false/'
  bug idle_time $d/path.rs 's/context\.now\.since\(session\.last_seen\) <= session\.idle_limit/true/'
  bug sweep $d/forwarder.rs 's/sessions\.sweep_slice\(tx, context\)/false/'
  bug live_evicted $d/admit/mod.rs 's/sessions\.closing_queue\.pop_front\(\) else/sessions.closing_queue.pop_front().or(sessions.table.occupied(0)) else/; s/ && !session\.is_live\(\);/;/'
  bug telling_evicted $d/admit/mod.rs 's/let closing =\s+sessions\.closing_queue\.front\(\)\.filter\([^;]*;/let closing = sessions.closing_queue.front();/'
  bug closing_counts $d/session/mod.rs 's/Self::Active \| Self::Opening \| Self::Established\)/Self::Active | Self::Opening | Self::Established | Self::Closing)/'
  bug freed_twice $d/session/table.rs 's/\n\s*self\.arena\.get\(slot\)\.filter\(\|session\| session\.phase != Phase::Vacant\)\?;//'
  bug silent_resource $d/admit/mod.rs 's/answer: resource\.and_then\(\|resource\| resource\.answer\)/answer: resource.and(None)/'
  bug leave_forgotten $d/lifecycle/mod.rs 's/self\s*\.peers\s*\.departed\s*\.add\([^;]*;//'
  bug group_answer $d/admit/reject.rs 's/if is_martian\(packet\.key\.destination\.ip\(\)\)/if is_martian(packet.key.source.ip())/'
  bug echo_reply_zero $d/nat/classify.rs 's/\s+if identifier != 0//'
  bug icmp_sequence $d/icmp.rs 's/ \|\| !is_in_flight\(session, direction, &message\)//'
  bug icmp_tiny_mtu $d/icmp.rs 's/ \|\| !is_believable\(&message\)//'
  bug icmp_other_target $d/icmp.rs 's/message\.quote\.source != outline\.destination \|\| //'
  bug icmp_checksum $w/icmp.rs 's/if checksum::join\(pseudo, checksum::sum\(message\)\) != 0xFFFF/if false/'
  bug icmp_sender_shown $d/icmp.rs 's/icmp::rebuild\(&message, translation\.source,/icmp::rebuild(&message, outline.source,/'
  bug icmp_extension_kept $w/icmp.rs 's/rest\.len\(\)\.min\(length\)\]/rest.len()]/'
  bug quoted_checksum $w/icmp.rs 's/checksum::update\(field, checksum::join\(addresses, ports\)\)/checksum::update(field, addresses)/'
  bug overlap_kept $d/fragment/reassembly.rs 's/if overlaps \|\| beyond/if beyond/'
  bug duplicate_kills $d/fragment/reassembly.rs 's/return Err\(if equal/return Err(if false/'
  bug unwelcome_kept $d/fragment/mod.rs 's/welcome\(outline, attachment, context\)\?/welcome(outline, attachment, context).unwrap_or((context.snapshot.settings.timeouts, None))/'
  bug held_forgotten $d/fragment/mod.rs 's/counts\.held -= u64::from\(datagram\.pieces\) - 1;//'
  bug identification_repeats $w/fragment.rs 's/self\.next16 \+= u32::try_from\(packets\)\.unwrap_or\(1\);//'
  bug echo_pseudo_header $d/nat/families.rs 's/Version::V4 => build::pseudo_sum\(to\.source, to\.destination, ip::ICMPV6, length\)/Version::V4 => 0/'
  bug udp_checksum_left_out $d/nat/families.rs 's/if packet\.version == Version::V6 \{/if true {/'
  bug icmp_extension_unannounced $w/icmp.rs 's/let length = if length == 0/let length = if false/'
  bug icmp_router_link_local $d/icmp.rs 's/is_martian\(source\) && !link_local/is_martian(source)/'
  bug route_recorded $w/ip.rs 's/7 \| 68 \| 131 \| 137/131 | 137/'
  bug number_dead_for_long $d/fragment/reassembly.rs 's/if first && self\.datagrams/if false \&\& self.datagrams/'
  bug number_alive_too_soon $d/fragment/reassembly.rs 's/assembly\.dead && assembly\.begun/assembly.dead/'
  bug silent_timeout $d/fragment/mod.rs 's/!answer\.is_ok_and\(\|answer\| answer\.unwrap_or\(settings\.answer\)\)/!settings.answer/'
  bug answers_countable $d/admit/reject.rs 's/1 \+ u32::from\(random\.u8\(\.\.8\) == 0\)/1/'
  bug reset_anywhere $d/session/tcp_state.rs 's/session\.tcp\.contains\(other_bits\.ack\) && segment\.seq == other\.last_ack/session.tcp.contains(other_bits.ack)/'
  bug reset_in_flight $d/session/tcp_state.rs 's/session\.tcp\.contains\(bits\.seq\) && segment\.seq == own\.seq_end/false/'
  bug old_numbers $d/lifecycle/segments.rs 's/context\.now\.since\(session\.last_seen\) >= OLD_IS_SILENT/false/'
  bug window_ahead $d/session/tcp_state.rs 's/reaches\(other\.last_ack\.wrapping_add\(other_window\), segment\.seq\)/true/'
  bug window_behind $d/session/tcp_state.rs 's/& reaches\(end\.wrapping_add\(other_window\), own\.seq_end\)//'
  bug unsent_acknowledged $d/session/tcp_state.rs 's/other\.seq_end\.wrapping_sub\(segment\.ack\) <= own_window\.max\(LATE_ACK\)/true/'
  bug one_end_scales $d/session/tcp_state.rs 's/scale\.filter\(\|_\| session\.tcp\.contains\(TcpFlags::OFFERS_SCALE\)\)/scale/'
  bug syn_scaled $d/session/tcp_state.rs 's/if segment\.flags & SYN == 0 \{ session\.windows\.scale\(direction\) \} else \{ 0 \}/session.windows.scale(direction)/'
  bug scale_taken_away $d/session/tcp_state.rs 's/both_scale\.is_none\(\) && !is_plain/both_scale.is_none()/'
  bug checksum_unread $d/lifecycle/segments.rs 's/segment\.flags & \(SYN \| FIN \| RST\) == 0 \|\| packet\.is_intact\(frame\)/true/'
  bug rival_at_once $d/lifecycle/segments.rs 's/const OLD_IS_SILENT: u32 = [^;]*;/const OLD_IS_SILENT: u32 = 0;/'
  bug syns_in_a_row $d/lifecycle/segments.rs 's/const SYNS_WITHIN: u32 = [^;]*;/const SYNS_WITHIN: u32 = 0;/'
  bug closed_for_good $d/lifecycle/segments.rs 's/if !lives \{/if true {/'
  bug alive_beyond_limits $d/lifecycle/segments.rs 's/if !self\.admit_again\(&addresses, session, context\)/if false/'
  bug contradicted_answer $d/lifecycle/segments.rs 's/\.filter\(\|_\| !asked\.contradicted\)//'
  bug answer_after_the_right_one $d/lifecycle/probing.rs 's/asked\.why != Why::Ended && session\.last_seen >= asked\.since/false/'
  bug busy_is_idle $d/lifecycle/review.rs 's/let is_doubtful = idle/let is_doubtful = false/'
  bug port_without_reset $d/lifecycle/mod.rs 's/is_some_and\(owes_resets\)/is_some_and(|_| false)/'
  bug fins_without_reset $d/session/tcp_state.rs 's/session\.phase == Phase::Closing && session\.tcp\.contains\(TcpFlags::PROVIDER_SEQ\)/session.phase == Phase::Closing \&\& session.tcp.contains(TcpFlags::EXACT_CLOSE) \&\& session.tcp.contains(TcpFlags::PROVIDER_SEQ)/'
  bug syn_without_reset $d/path/slow.rs 's/if repeats \{/if true {/'
  bug syn_before_reset $d/path.rs 's/if !tx\.is_empty\(\) \{/if false {/'
  bug refused_syn_buries $d/path/slow.rs 's/if !is_closing && let Err/if false \&\& let Err/'
  bug spoilt_syn_opens $d/admit/mod.rs 's/ \|\| packet\.key\.protocol == Protocol::Tcp && !packet\.is_intact\(frame\)//'
  bug spoilt_syn_replaces $d/path/slow.rs 's/ && packet\.is_intact\(rx\.frame\);/;/'
  bug rival_unreset $d/lifecycle/mod.rs 's/if let Some\(mut rival\) = rival/if let Some(mut rival) = rival.filter(|_| false)/'
  bug ends_unasked $d/lifecycle/mod.rs 's/self\.ask_ended\(slot, context\);//'
  bug asked_once $d/lifecycle/probing.rs 's/const ENDED: &\[u32\] = [^;]*;/const ENDED: \&[u32] = \&[0];/'
  bug asked_for_ever $d/lifecycle/probing.rs 's/question\.ends\[asked as usize\] = false;//'
  bug any_reset_answers $d/lifecycle/probing.rs 's/points\.iter\(\)\.any\(\|\(_, ack\)\| \*ack == reset\.seq\)/true/'
  bug tombstone_slow $d/path/slow.rs 's/context\.now\.since\(ended\) > EACH_ANSWERED/true/'
  bug challenged_port $d/path/slow.rs 's/repeats\.then_some\(&addresses\)/None/'
  bug room_elsewhere $d/handoff.rs 's/self\.shared\.with_room\(self\.position\.worker\)/None/'
  bug ports_elsewhere $d/handoff.rs 's/Some\(\(self\.position\.worker \+ 1\) % workers\)/None/'
  bug port_used_twice $d/nat/port_bits.rs 's/words\[word\] &= !\(1 << \(offset % 64\)\);//'
  bug last_ports_lost $d/nat/port_bits.rs 's/if words\[word\] == 0 \{/if true {/'
  bug counts_lost $d/session/carried.rs 's/before\.0 \+ sum\.0/before.0/'
  bug gone_too_large $d/nat/fit.rs 's/if resized\(largest\) > limit && !may_cut/if false/'
  bug neighbour_told $d/nat/fit.rs 's/ && onward\.direction == Direction::ToService//'
  bug never_narrow $d/icmp.rs 's/sessions\.table\.narrow\(hit\.session, mtu, context\.now\);//'
  bug narrow_for_ever $d/session/families.rs 's/now\.since\(narrow\.since\) < LASTS/true/'
  bug cut_sum_made_right $d/nat/super_packet.rs 's/if !packet\.is_sound\(frame\)/if false/'
  bug urgent_cut $d/nat/super_packet.rs 's/\(SYN \| RST \| URG\)/(SYN | RST)/'
  bug window_lowered_twice $d/nat/super_packet.rs 's/gso_type: kind \| ecn/gso_type: kind/'
  bug rate_unpaid $d/admit/rates.rs 's/fee\.pay\(\);\n\s*true/let _ = fee;\n        true/'
  bug rate_of_both_ways $d/admit/rates.rs 's/Direction::ToConsumer => Metered::ToConsumer/Direction::ToConsumer => Metered::ToService/'
  bug rate_of_sessions $d/admit/rates.rs 's/if opens \{ limits\.allow\(Metered::Sessions, 1, now\) \} else \{ Some\(fee\) \}/Some(fee)/'
  bug resets_at_once $d/lifecycle/mod.rs 's/self\.pace\.spend\(\);//'
  bug resets_by_the_tick $d/mod.rs 's/now: moment\.tick\(\), moment/now: moment.tick(), moment: moment.tick().into()/'
  bug end_untold_to_own $d/admit/mod.rs 's/sessions\.peers\.tell_departed\(\);//'
  bug end_untold_to_others $d/forwarder.rs 's/sessions\.peers\.tell_departed\(\);//'
  bug fair_share $d/share.rs 's/held < equal_part\(\)/true/'
  bug fair_share_of_all $d/handoff.rs 's/if !all\.is_fair\([^{]*/if false /'
  bug fair_share_of_abandoned $d/nat/ports.rs 's/(set\.ended\.push_back\([^\n]*)/$1 set.let_go(session.endpoint);/'
  ((MISSED == 0))
}

# The first names of a list, and how many more there are.
shorten() {
  local names
  read -ra names <<<"$1"
  printf '%s' "${names[*]:0:3}"
  ((${#names[@]} <= 3)) || printf ' and %d more' $((${#names[@]} - 3))
}

# bug NAME FILE PERL: plants one, runs the packet path's own tests and the model, cures it.
bug() {
  local name=$1 file=$2 change=$3 log=$COPY/$1.log found
  [[ $WANTED == '  ' || $WANTED == *" $name "* ]] || return 0
  perl -0pi -e "$change" "$COPY/tree/$file"
  cp "$COPY/tree/$file" "$COPY/part/$file"
  if cmp -s "$HERE/$file" "$COPY/tree/$file"; then
    found='NOT CAUGHT (the place to plant it is gone)'
    MISSED=$((MISSED + 1))
  elif [[ $DRY == yes ]]; then
    found='can be planted'
  elif : >"$log" && tested part "$log" --lib && tested tree "$log" --test model -- model_says evicts every_port; then
    found='NOT CAUGHT'
    MISSED=$((MISSED + 1))
  else
    found=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sed 's/.*:://' | sort -u | paste -sd' ')
    if [[ -n $found ]]; then
      found="caught by $(shorten "$found")"
    else
      found='NOT CAUGHT (it did not build, or hung)'
      MISSED=$((MISSED + 1))
    fi
  fi
  printf '%s: %s\n' "$name" "$found"
  [[ $DEMO == no ]] || demo "$name"
  cp "$HERE/$file" "$COPY/tree/$file"
  cp "$HERE/$file" "$COPY/part/$file"
}

# tested COPY LOG ARGUMENT...: runs tests of a copy. The model needs the whole crate: it only finds what the unit tests
# do not.
tested() {
  local copy=$1 log=$2
  shift 2
  (cd "$COPY/$copy" && CARGO_TARGET_DIR=$COPY/target RUST_BACKTRACE=0 PRIVLINK_MODEL_STEPS=4000 timeout 1200 \
    cargo test --locked --no-fail-fast "$@") >>"$log" 2>&1
}

# demo NAME: the demo with the bug that is planted now.
demo() {
  local log=$COPY/$1.demo.log
  (cd "$COPY/tree" && CARGO_TARGET_DIR=$COPY/target cargo build --locked --quiet --bin privlink) || return 1
  if PRIVLINK_BIN=$COPY/target/debug/privlink scripts/demo.sh --no-install >"$log" 2>&1; then
    printf '%s: the demo does NOT notice\n' "$1"
    MISSED=$((MISSED + 1))
  else
    printf '%s: the demo fails at:%s\n' "$1" "$(grep -m1 FAILED "$log" | sed 's/ *FAILED *[0-9.]* s//' | cut -c1-110)"
  fi
}

main
