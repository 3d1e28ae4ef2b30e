/**
 * The concepts that the nano model draws: one line per group, each entry the icon's name in both artwork packages,
 * with the noun phrase to use where it is not simply the icon's name behind "a" or "an". Chosen by hand for variety
 * among the emoji that both packages have; the near duplicates (clock faces, families, moon phases, flags, skin tones,
 * gender variants, buttons) stay out, and a test holds every pair of them apart by pixel distance.
 */
const GROUPS: Record<string, string> = {
  animals: `
    ant | badger | bat | bear=a bear face | beaver | beetle | bird | bison | blowfish=a pufferfish | boar | butterfly |
    camel | cat-face | chicken=a chicken face | chipmunk | cockroach | cow-face | crab | cricket | crocodile | deer |
    dodo | dog-face | dolphin | dove | dragon | dragon-face | duck | eagle | elephant | ewe=a sheep | fish | flamingo |
    fly | fox=a fox face | frog=a frog face | giraffe | goat | gorilla | hamster=a hamster face | hatching-chick |
    hedgehog | hippopotamus | honeybee | horse-face | jellyfish | kangaroo | koala=a koala face | lady-beetle=a ladybug |
    leopard | lion=a lion face | lizard | llama | lobster | mammoth | microbe | monkey | monkey-face | mosquito |
    mouse-face | octopus | orangutan | otter | owl | ox | oyster | panda=a panda face | parrot | paw-prints=paw prints |
    peacock | penguin | pig-face | pig-nose | polar-bear=a polar bear face | poodle | rabbit-face | raccoon=a raccoon face |
    rhinoceros | rooster | sauropod | scorpion | seal | shark | shrimp | skunk | sloth | snail | snake | spider |
    spider-web | spouting-whale | squid | swan | t-rex=a tyrannosaurus | tiger | tiger-face | tropical-fish | turkey |
    turtle | unicorn=a unicorn face | wolf=a wolf face | worm | zebra | feather | coral=coral | empty-nest`,
  plants: `
    blossom | bouquet | cactus | cherry-blossom | christmas-tree | deciduous-tree | evergreen-tree | fallen-leaf=fallen leaves |
    four-leaf-clover | herb | hibiscus | hyacinth | lotus | maple-leaf | mushroom | palm-tree | potted-plant | rose |
    seedling | sheaf-of-rice | sunflower | tulip | wilted-flower | wood`,
  food: `
    avocado | bacon=bacon | bagel | baguette-bread=a baguette | banana | beer-mug=a mug of beer | bell-pepper |
    bento-box | birthday-cake | blueberries=blueberries | bowl-with-spoon | bread | broccoli=broccoli |
    bubble-tea=bubble tea | burrito | butter=butter | candy=a candy | canned-food=a can of food | carrot | cheese-wedge=a wedge of cheese |
    cherries=cherries | chestnut | chocolate-bar | cocktail-glass | coconut | cooked-rice=cooked rice | cookie |
    cooking=a fried egg | croissant | cucumber | cup-with-straw | cupcake | curry-rice=curry rice | custard=custard |
    cut-of-meat | dango=dango | doughnut | dumpling | ear-of-corn | egg | eggplant | falafel=falafel |
    fish-cake-with-swirl | flatbread | fondue=fondue | fork-and-knife=a fork and knife |
    french-fries=french fries | fried-shrimp | garlic=garlic | glass-of-milk | grapes=grapes |
    green-salad | hamburger | honey-pot | hot-beverage=a hot drink | hot-dog | hot-pepper | ice-cream=ice cream |
    kiwi-fruit | leafy-green=leafy greens | lemon | lollipop | mango | meat-on-bone=meat on a bone | melon |
    moon-cake | oden=oden | olive | onion | pancakes=pancakes | peach | peanuts=peanuts | pear |
    pie | pineapple | pizza=a slice of pizza | popcorn=popcorn | potato | poultry-leg | pretzel | red-apple |
    rice-ball | rice-cracker | roasted-sweet-potato | sake=sake | salt=salt | sandwich | shaved-ice=shaved ice | shortcake |
    soft-ice-cream=soft ice cream | spaghetti=spaghetti | steaming-bowl | strawberry | stuffed-flatbread | sushi=sushi | taco |
    takeout-box | tamale | tangerine | teapot | tomato | tropical-drink | waffle | watermelon=a slice of watermelon |
    wine-glass`,
  vehicles: `
    aerial-tramway | airplane | ambulance | articulated-lorry=a truck | auto-rickshaw | automobile=a red car | bicycle |
    bullet-train | bus | canoe | fire-engine | flying-saucer | helicopter | kick-scooter | locomotive |
    motor-scooter | motorcycle | oncoming-taxi | parachute | passenger-ship | pickup-truck | police-car |
    racing-car | rocket | sailboat | skateboard | speedboat | sport-utility-vehicle |
    tractor | tram | wheel | anchor`,
  places: `
    bank | beach-with-umbrella | bridge-at-night | camping=a tent in the woods | carousel-horse | castle | church | circus-tent |
    desert-island | factory | ferris-wheel | fountain | hospital | house | hut | japanese-castle | kaaba=the Kaaba |
    map-of-japan | moai | mount-fuji=Mount Fuji | mosque | office-building | playground-slide | rainbow | roller-coaster |
    school | shinto-shrine | stadium | statue-of-liberty=the Statue of Liberty | sunrise | sunrise-over-mountains |
    tent | tokyo-tower=the Tokyo Tower | volcano | wedding=a wedding chapel | globe-showing-americas=a globe | milky-way=the Milky Way`,
  weather: `
    cloud-with-rain | comet | crescent-moon | fire=fire | high-voltage=a lightning bolt | cyclone | droplet |
    full-moon | ringed-planet | snowflake | snowman | star | sun | sun-with-face=a sun with a face | tornado | umbrella |
    water-wave=a wave | cloud | sun-behind-cloud`,
  activities: `
    american-football | artist-palette | badminton | balloon | baseball | basketball | bowling | boxing-glove |
    bullseye | carp-streamer | confetti-ball | crystal-ball | curling-stone | field-hockey | fireworks=fireworks |
    firecracker | fishing-pole | flag-in-hole | flying-disc | framed-picture | game-die | goal-net | ice-hockey | ice-skate |
    jack-o-lantern | japanese-dolls | joystick | kite | lacrosse | magic-wand |
    martial-arts-uniform | nesting-dolls | party-popper | performing-arts=theatre masks | ping-pong | pool-8-ball=an eight ball | puzzle-piece |
    red-envelope | running-shirt | skis=skis | sled | slot-machine | soccer-ball | sparkles=sparkles | sports-medal |
    teddy-bear | tennis=a tennis racket | ticket | trophy | video-game=a game controller | volleyball | wind-chime | wrapped-gift |
    yarn=a ball of yarn | yo-yo | diving-mask | mirror-ball | thread=a spool of thread`,
  objects: `
    abacus | accordion | adhesive-bandage | alarm-clock | amphora | axe | backpack | balance-scale | ballet-shoes=ballet shoes |
    banjo | basket | bathtub | battery | bed | bell | bikini | billed-cap=a cap | boomerang | bow-and-arrow |
    brick=bricks | broom | bubbles=bubbles | bucket | camera | candle | card-file-box | carpentry-saw=a saw |
    chair | clapper-board | coffin | coin | compass | computer-mouse | couch-and-lamp | credit-card | crown |
    dagger | desktop-computer | dna=DNA | door | dress | drum | electric-plug | elevator | envelope | fire-extinguisher |
    floppy-disk | flute | fountain-pen | fuel-pump | funeral-urn | gear | gem-stone | glasses=glasses |
    gloves=gloves | goggles=goggles | graduation-cap | guitar | hammer | hamsa | handbag | headphone=headphones |
    headstone | high-heeled-shoe | hiking-boot | hook | hourglass-not-done=an hourglass | jar | jeans=jeans | key | kimono |
    kitchen-knife | knot | ladder | laptop | light-bulb | link=a chain link | lipstick | locked=a padlock | long-drum |
    lotion-bottle | magnet | magnifying-glass-tilted-left=a magnifying glass | maracas=maracas | microphone | microscope |
    mobile-phone | money-bag | mouse-trap | musical-keyboard | nazar-amulet | necktie | newspaper |
    nut-and-bolt | old-key | one-piece-swimsuit | open-book | package | paintbrush | paperclip | pencil | pick |
    pill | plunger | postbox | printer | purse | pushpin | radio | razor | red-paper-lantern | ring | ring-buoy |
    roll-of-paper | running-shoe | safety-pin | safety-vest | satellite | satellite-antenna | saxophone | scarf | scissors=scissors |
    screwdriver | scroll | sewing-needle | shield | shopping-bags=shopping bags | shopping-cart | shorts=shorts | shower |
    soap=soap | socks=socks | speaker-high-volume | sponge | stethoscope | stopwatch | straight-ruler | studio-microphone |
    sunglasses=sunglasses | syringe | t-shirt | telephone | telescope | television | test-tube | thermometer |
    thong-sandal | toilet | toolbox | toothbrush | top-hat | triangular-ruler | trumpet | umbrella-on-ground |
    video-camera | videocassette | violin | watch | water-pistol | white-cane | window | womans-sandal | wrench | trackball`,
  faces: `
    alien | alien-monster | angry-face | clown-face | cold-face | cowboy-hat-face | disguised-face | exploding-head | face-screaming-in-fear |
    face-with-medical-mask | face-with-tears-of-joy | ghost | goblin | hot-face | loudly-crying-face | money-mouth-face |
    moose=a moose face | nerd-face | ogre | pile-of-poo | pouting-cat | robot=a robot face | skull |
    smiling-face-with-heart-eyes | smiling-face-with-horns | smiling-face-with-sunglasses | star-struck=a star-struck face |
    zany-face | zipper-mouth-face`,
  body: `
    anatomical-heart | bone | brain | ear | eye | foot | lungs=lungs | mouth | nose | tooth | thumbs-up=a thumbs up |
    flexed-biceps | waving-hand | red-heart | broken-heart | nail-polish=nail polish | footprints=footprints`,
};

/** One thing the model can draw. */
export interface Concept {
  /** The icon's name in both artwork packages, for example `french-fries`. */
  icon: string;
  /** The noun phrase with its article, for example `a tiger`, `an owl`, `french fries`. */
  phrase: string;
  /** The phrase without its article: `tiger`, `owl`, `french fries`. Unique. */
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
