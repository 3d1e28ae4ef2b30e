/**
 * The concepts that the nano model draws: one line per group, each entry the icon's name in both artwork packages,
 * with the noun phrase to use where it is not simply the icon's name behind "a" or "an". Chosen for
 * variety among the emoji that both packages have: from some 600 things picked by hand, those went that look like
 * another one in either style or quite unlike themselves in the other; a test keeps every two concepts apart. Clock
 * faces, families, moon phases, flags, skin tones, gender variants and buttons were never considered.
 */
const GROUPS: Record<string, string> = {
  animals: `
    ant | badger | bear=a bear face | beetle | blowfish=a pufferfish | boar | camel | cat-face |
    chicken=a chicken face | cow-face | crab | crocodile | dodo | dog-face | dolphin | duck | elephant | fish |
    flamingo | fox=a fox face | frog=a frog face | giraffe | gorilla | hamster=a hamster face | hatching-chick |
    hedgehog | koala=a koala face | lady-beetle=a ladybug | leopard | lion=a lion face | lizard | lobster |
    mammoth | microbe | monkey-face | mouse-face | otter | owl | ox | panda=a panda face | peacock | poodle |
    rabbit-face | rhinoceros | rooster | sauropod | shark | sloth | snail | spider-web | tiger-face |
    unicorn=a unicorn face | wolf=a wolf face | worm | zebra | feather | empty-nest`,
  plants: `
    bouquet | cactus | christmas-tree=a Christmas tree | deciduous-tree | four-leaf-clover=a four-leaf clover | herb=a sprig of herbs | hibiscus |
    hyacinth | maple-leaf | palm-tree | potted-plant | sunflower | tulip | wilted-flower`,
  food: `
    avocado | baguette-bread=a baguette | banana | beer-mug=a mug of beer | bowl-with-spoon=a bowl with a spoon |
    bread=a loaf of bread | burrito | carrot | cherries=cherries | chestnut | chocolate-bar | cocktail-glass |
    coconut | cookie | cooking=a fried egg | croissant | cucumber | curry-rice=curry rice | cut-of-meat |
    dango=dango | doughnut | dumpling | ear-of-corn | egg | eggplant |
    fish-cake-with-swirl=a fish cake with a swirl | fondue=fondue | fork-and-knife=a fork and knife |
    french-fries=french fries | fried-shrimp | grapes=grapes | green-salad | hamburger | hot-pepper |
    ice-cream=ice cream | kiwi-fruit | lemon | melon | oden=oden | peach | peanuts=peanuts | pear | pineapple |
    pizza=a slice of pizza | poultry-leg | pretzel | red-apple | rice-ball | roasted-sweet-potato |
    salt=a salt shaker | sandwich | shaved-ice=shaved ice | soft-ice-cream=soft ice cream | spaghetti=spaghetti |
    strawberry | sushi=sushi | teapot | tropical-drink | waffle | watermelon=a slice of watermelon | wine-glass`,
  vehicles: `
    aerial-tramway | airplane | auto-rickshaw | automobile=a red car | bus | fire-engine | helicopter |
    kick-scooter | locomotive | motorcycle | oncoming-taxi | parachute | passenger-ship | pickup-truck |
    police-car | racing-car | rocket | sport-utility-vehicle | tractor | tram | anchor`,
  places: `
    bridge-at-night | camping=a tent in the woods | castle | church | desert-island | house | kaaba=the Kaaba |
    moai | office-building | rainbow | school | shinto-shrine=a Shinto shrine |
    statue-of-liberty=the Statue of Liberty | sunrise-over-mountains | tokyo-tower=the Tokyo Tower | volcano |
    globe-showing-americas=a globe | milky-way=the Milky Way`,
  weather: `
    crescent-moon | fire=fire | cyclone | droplet | snowflake | snowman | star | tornado | umbrella | cloud |
    sun-behind-cloud=a sun behind a cloud`,
  activities: `
    american-football=an American football | badminton=a badminton racket | balloon | baseball | basketball |
    boxing-glove | carp-streamer=carp streamers | curling-stone | firecracker | flag-in-hole=a golf flag |
    framed-picture | game-die=a die | goal-net | ice-hockey=an ice hockey stick | ice-skate |
    japanese-dolls=Japanese dolls | joystick | kite | magic-wand | nesting-dolls=nesting dolls |
    performing-arts=theatre masks | puzzle-piece | red-envelope | sparkles=sparkles | ticket | trophy | volleyball |
    wind-chime | thread=a spool of thread`,
  objects: `
    alarm-clock | amphora | axe | basket | battery | bell | billed-cap=a cap | boomerang | bow-and-arrow |
    brick=bricks | camera | chair | coffin | coin | compass | crown | dagger | door | dress | drum |
    fire-extinguisher | floppy-disk | flute | gear | gem-stone | glasses=glasses | graduation-cap | guitar |
    hammer | handbag | high-heeled-shoe=a high-heeled shoe | hourglass-not-done=an hourglass | jeans=jeans | key |
    kitchen-knife | laptop | light-bulb | link=a chain link | lipstick | locked=a padlock | long-drum |
    maracas=maracas | microphone | microscope | mobile-phone | musical-keyboard | nazar-amulet | newspaper |
    open-book | pick | plunger | postbox | purse | pushpin | red-paper-lantern | ring | saxophone |
    scissors=scissors | screwdriver | scroll | sewing-needle | shopping-cart | straight-ruler=a ruler |
    studio-microphone | sunglasses=sunglasses | syringe | toolbox | top-hat | triangular-ruler | trumpet |
    videocassette | violin | white-cane | womans-sandal=a woman's sandal`,
  faces: `
    alien-monster | clown-face | cowboy-hat-face | disguised-face | exploding-head | face-screaming-in-fear |
    face-with-medical-mask=a face with a medical mask | ghost | goblin | money-mouth-face=a money-mouth face |
    pile-of-poo | robot=a robot face | skull | smiling-face-with-horns | smiling-face-with-sunglasses | zany-face`,
  body: `
    ear | eye | foot | lungs=lungs | mouth | nose | thumbs-up=a thumbs up | flexed-biceps | waving-hand |
    red-heart | nail-polish=nail polish | footprints=footprints`,
};

/** One thing the model can draw. */
export interface Concept {
  /** The icon's name in both artwork packages, for example `french-fries`. */
  icon: string;
  /** The noun phrase with its article, for example `a tiger`, `an owl`, `french fries`. */
  phrase: string;
  /** The phrase without its article: `
    `, `owl`, `french fries`. Unique. */
  name: string;
  /** The group it belongs to: animals, plants, food, vehicles, places, weather, activities, objects, faces, body. */
  group: string;
}

/** Words that start with a vowel letter but not with a vowel sound, or the other way round. */
const ARTICLE_EXCEPTIONS: Record<string, string> = { unicorn: 'a', hourglass: 'an', one: 'a' };

function withArticle(name: string): string {
  const firstWord = name.split(' ', 1)[0] ?? name;
  const article = ARTICLE_EXCEPTIONS[firstWord] ?? (/^[aeiou]/.test(firstWord) ? 'an' : 'a');
  return `${article} ${name}`;
}

function parseConcept(entry: string, group: string): Concept {
  const [icon = '', given] = entry.split('=');
  const phrase = given ?? withArticle(icon.replaceAll('-', ' '));
  return { icon, phrase, name: phrase.replace(/^(an?|the) /, ''), group };
}

/** All concepts in the order of the list above. */
export const CONCEPTS: readonly Concept[] = Object.entries(GROUPS).flatMap(([group, list]) =>
  list.split('|').map((entry) => parseConcept(entry.trim(), group)),
);
