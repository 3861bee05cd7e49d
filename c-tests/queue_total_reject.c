/* modes: threads processes */
#include "queue_total.h"

int main(int argc, char **argv) { return queue_total(argc, argv, "reject"); }
