#include "etude/base/assets.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace {

TEST(Assets, CatalogueIsCarried) {
  const auto papers = etude::asset("methods/papers.toml");
  ASSERT_TRUE(papers.has_value());
  EXPECT_NE(papers->find("slug = \"noloco\""), std::string_view::npos);
  EXPECT_EQ(papers->data()[papers->size()], '\0');
}

TEST(Assets, UnknownPathIsNothing) {
  EXPECT_FALSE(etude::asset("methods/papers.tom").has_value());
  EXPECT_FALSE(etude::asset("").has_value());
  EXPECT_TRUE(etude::assets("no/such/folder/").empty());
}

TEST(Assets, PrefixListsInOrder) {
  const auto all = etude::assets("");
  ASSERT_FALSE(all.empty());
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  for (const auto path : etude::assets("methods/")) {
    EXPECT_EQ(path.substr(0, 8), "methods/");
    EXPECT_TRUE(etude::asset(path).has_value()) << path;
  }
}

}  // namespace
