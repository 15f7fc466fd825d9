// B batch, T time, K places of a row.

#include "etude/data/masking.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "etude/data/tokenizers/testing_tokenizers.h"

namespace etude::masking_test {
namespace {

Rng stream_of(int64_t sample) { return Rng(Key{5, Purpose::mask, 3, sample}); }

Masking of_ids(int64_t ordinary) {
  Masking masking;
  masking.mask_id = 99;
  masking.ordinary_O = at::arange(ordinary) + 10;
  return masking;
}

/// Rows of tokens 10 .. 10 + ordinary - 1.
Tensor row_tokens(int64_t B, int64_t T, int64_t ordinary) {
  return (at::arange(B * T) * 7).remainder(ordinary).view({B, T}) + 10;
}

std::string special_tokens(const std::string& fixture) {
  const auto tokenizer = fixture_tokenizer(fixture);
  std::string all;
  for (const int64_t id : roles_of(*tokenizer).special) all += tokenizer->token(id) + " ";
  return all;
}

TEST(Masking, SpecialTokensAreThoseThatStandForNoText) {
  EXPECT_EQ(special_tokens("bert_uncased"), "[PAD] [UNK] [CLS] [SEP] [MASK] ");
  EXPECT_EQ(special_tokens("roberta"), "<s> <pad> </s> <unk> <mask> ");
  EXPECT_EQ(special_tokens("gpt2"), "<|endoftext|> ");
  const auto bert = fixture_tokenizer("bert_uncased");
  EXPECT_EQ(roles_of(*bert).mask, bert->id("[MASK]"));
  EXPECT_EQ(roles_of(*fixture_tokenizer("roberta")).mask, fixture_tokenizer("roberta")->id("<mask>"));
  const TokenRoles bytes = roles_of(*byte_tokenizer());
  EXPECT_EQ(bytes.special, std::vector<int64_t>{256});
  EXPECT_EQ(bytes.vocabulary, 257);
  EXPECT_FALSE(bytes.mask);
}

TEST(Masking, ARowLosesItsShareOfWhatMayBeMasked) {
  const Tensor ids_BT = row_tokens(5, 20, 30);
  ids_BT.select(1, 0).fill_(1);  // special
  ids_BT.select(1, 3).fill_(2);  // special
  ids_BT[4].fill_(1);            // nothing else
  const Tensor length_B = at::tensor({20, 11, 2, 1, 20}, at::kLong);
  const Tensor special = at::tensor({1, 2}, at::kLong);
  const Tensor may_BT = may_be_masked(ids_BT, length_B, special);
  EXPECT_TRUE(at::equal(may_BT.sum(1), at::tensor({18, 9, 1, 0, 0}, at::kLong)));
  EXPECT_TRUE(at::equal(masked_counts(may_BT, 0.15), at::tensor({3, 1, 1, 0, 0}, at::kLong)));
  EXPECT_TRUE(at::equal(masked_counts(may_BT, 1), at::tensor({18, 9, 1, 0, 0}, at::kLong)));
  EXPECT_EQ(most_masked(20, 0.15), 3);
  EXPECT_EQ(most_masked(1, 0.01), 1);

  Masking masking = of_ids(30);
  masking.special = special;
  for (const double share : {0.15, 0.5, 1.0}) {
    masking.share = share;
    const MaskedRows rows = mask_rows(ids_BT, length_B, at::arange(5), masking, stream_of);
    EXPECT_EQ(rows.place_BK.sizes(), (std::vector<int64_t>{5, most_masked(20, share)}));
    EXPECT_TRUE(at::equal(rows.labels_BK.ge(0).sum(1), masked_counts(may_BT, share)));
    const Tensor changed_BT = rows.ids_BT.ne(ids_BT);
    EXPECT_FALSE(changed_BT.logical_and(may_BT.logical_not()).any().item<bool>()) << "special or padding";
    for (int64_t b = 0; b < 5; ++b) {
      const Tensor place_K = std::get<0>(rows.place_BK[b].sort());
      EXPECT_TRUE(place_K.diff().gt(0).all().item<bool>()) << "no place twice";
      Tensor chosen_T = at::zeros({20}, at::kBool);
      for (int64_t k = 0; k < place_K.numel(); ++k) {
        const int64_t label = rows.labels_BK[b][k].item<int64_t>(), place = rows.place_BK[b][k].item<int64_t>();
        if (label < 0) continue;
        chosen_T[place] = true;
        EXPECT_EQ(label, ids_BT[b][place].item<int64_t>());
      }
      EXPECT_FALSE(changed_BT[b].logical_and(chosen_T.logical_not()).any().item<bool>());
    }
  }
}

TEST(Masking, EightInTenAreMaskedAndOneIsRandom) {
  const Tensor ids_BT = row_tokens(400, 100, 50);
  const MaskedRows rows = mask_rows(ids_BT, {}, at::arange(400), of_ids(50), stream_of);
  const Tensor after_BK = rows.ids_BT.gather(1, rows.place_BK);
  const double all = 400 * 15;
  const double masked = after_BK.eq(99).sum().item<double>();
  const double kept = after_BK.eq(rows.labels_BK).sum().item<double>();
  // Standard deviations: 0.005 and 0.004 of all. A random token is the old one in one of 50 cases.
  EXPECT_NEAR(masked / all, 0.8, 0.02);
  EXPECT_NEAR(kept / all, 0.1 + 0.1 / 50, 0.016);
  const Tensor random = after_BK.masked_select(after_BK.ne(99).logical_and(after_BK.ne(rows.labels_BK)));
  EXPECT_GE(random.min().item<int64_t>(), 10);
  EXPECT_LT(random.max().item<int64_t>(), 60);
  EXPECT_EQ(std::get<0>(at::_unique(random)).numel(), 50) << "each ordinary token comes";
  // All places are as likely: 60 of 400 rows each, standard deviation 7.1.
  const Tensor often_T = at::bincount(rows.place_BK.flatten(), {}, 100);
  EXPECT_GT(often_T.min().item<int64_t>(), 30);
  EXPECT_LT(often_T.max().item<int64_t>(), 90);

  Masking always = of_ids(50);
  always.masked = 1, always.random = 0;
  const MaskedRows hidden = mask_rows(ids_BT, {}, at::arange(400), always, stream_of);
  EXPECT_EQ(hidden.ids_BT.eq(99).sum().item<double>(), all);
  always.masked = 0;
  EXPECT_TRUE(at::equal(mask_rows(ids_BT, {}, at::arange(400), always, stream_of).ids_BT, ids_BT));
}

TEST(Masking, DependsOnTheSampleAlone) {
  const Tensor ids_BT = row_tokens(6, 31, 40), id_B = at::tensor({4, 9, 2, 30, 1, 7}, at::kLong);
  const MaskedRows all = mask_rows(ids_BT, {}, id_B, of_ids(40), stream_of);
  const MaskedRows some = mask_rows(ids_BT.narrow(0, 2, 3), {}, id_B.narrow(0, 2, 3), of_ids(40), stream_of);
  EXPECT_TRUE(at::equal(some.ids_BT, all.ids_BT.narrow(0, 2, 3)));
  EXPECT_TRUE(at::equal(some.place_BK, all.place_BK.narrow(0, 2, 3)));
  EXPECT_TRUE(at::equal(some.labels_BK, all.labels_BK.narrow(0, 2, 3)));
  EXPECT_FALSE(at::equal(mask_rows(ids_BT, {}, id_B + 1, of_ids(40), stream_of).place_BK, all.place_BK));
}

}  // namespace
}  // namespace etude::masking_test
