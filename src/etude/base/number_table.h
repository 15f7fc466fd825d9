#pragma once
// A small table of numbers with a title: what a simulation shows where nothing could be measured.

#include <string>
#include <vector>

namespace etude {

struct NumberTable {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<double>> rows;  ///< each as long as `columns`
};

}  // namespace etude
